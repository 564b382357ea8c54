/* cmd_version.c - `trivet version`. */
#include <stdio.h>

#include "server/cmd.h"
#include "server/version.h"

int cmd_version(int n_args, char *const *args, char *const *env)
{
    (void)n_args;
    (void)args;
    (void)env;
    puts("trivet " TRIVET_VERSION " (" TRIVET_REVISION ")");
    return 0;
}
