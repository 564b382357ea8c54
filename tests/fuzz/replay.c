/* replay.c - main() for fuzz targets built without libFuzzer: runs every file of the folders and
 * files named on the command line through LLVMFuzzerTestOneInput. Each input lies in a heap block
 * of exactly its size, so that sanitizers see reads behind it. No seeds at all is a failure. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int replay_file(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0) {
        perror(path);
        if (f)
            fclose(f);
        return 1;
    }
    size_t n = (size_t)st.st_size;
    uint8_t *data = malloc(n > 0 ? n : 1);
    int failed = !data || fread(data, 1, n, f) != n;
    if (failed) {
        perror(path);
    } else {
        fprintf(stderr, "%s\n", path); // the last line names the input of a crash
        LLVMFuzzerTestOneInput(data, n);
    }
    free(data);
    fclose(f);
    return failed;
}

static int replay_folder(const char *path, int *count)
{
    char file[4096];
    int failed = 0;
    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        return 1;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        failed |= replay_file(file);
        ++*count;
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int count = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            failed |= replay_folder(argv[i], &count);
        } else {
            failed |= replay_file(argv[i]);
            count++;
        }
    }
    fprintf(stderr, "%d inputs\n", count);
    return failed || count == 0;
}
