/* cmd.h - the verbs of the command line: one file each. `args` are what follows the verb; the
 * result is the exit code (0 fine, 1 failed, 2 wrong usage). */
#pragma once

int cmd_serve(int n_args, char *const *args, char *const *env);
int cmd_check(int n_args, char *const *args, char *const *env);
int cmd_backup(int n_args, char *const *args, char *const *env);
int cmd_config(int n_args, char *const *args, char *const *env);
int cmd_import(int n_args, char *const *args, char *const *env);
int cmd_version(int n_args, char *const *args, char *const *env);
