/* backup.h - what the store itself does about backups; taking one is store_backup (store.h). */
#pragma once

#include "storage/base/fs.h"

/* Completes what a backup into this directory had decided when it was killed; nothing to do is
 * fine. The directory's lock is held. */
MUST_USE bool backup_complete(struct fs *fs, str dir, struct err *err);
/* A store goes to work in this directory: if it is a copy, the next backup into it copies all files
 * anew. The directory's lock is held. */
MUST_USE bool backup_opened(struct fs *fs, str dir, struct err *err);
