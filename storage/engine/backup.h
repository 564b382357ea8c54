/* backup.h - what the store itself does about backups; taking one is store_backup (store.h). */
#pragma once

#include "storage/base/fs.h"

/* Completes what a backup into this directory had decided when it was killed; nothing to do is
 * fine. The directory's lock is held. */
MUST_USE bool backup_complete(struct fs *fs, str dir, struct err *err);
