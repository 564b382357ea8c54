/* err.h - the error object: what went wrong, where in the input, and a message for people.
 *
 * Functions that can fail return bool and take `struct err *` last, never NULL; outputs are written
 * on success only. err_set and err_in return false so that `return err_set(...)` reads well.
 * The code decides the HTTP and gRPC status in one table (err_http, err_grpc). */
#pragma once

#include "storage/base/str.h"

enum err_code {
    ERR_NONE,
    ERR_INVALID,     // the caller's input is wrong                     400 / INVALID_ARGUMENT
    ERR_NOT_FOUND,   //                                                 404 / NOT_FOUND
    ERR_LIMIT,       // over a stated limit; the message names it       422 / RESOURCE_EXHAUSTED
    ERR_EXEC,        // valid query, evaluation failed                  422 / FAILED_PRECONDITION
    ERR_UNSUPPORTED, // understood, not built (yet); names the construct 400 / UNIMPLEMENTED
    ERR_TOO_LARGE,   // a body above its limit                          413 / RESOURCE_EXHAUSTED
    ERR_MEDIA,       // content type or encoding                        415 / INVALID_ARGUMENT
    ERR_BUSY,        // try again later: queue, memory                  429 / RESOURCE_EXHAUSTED
    ERR_UNAVAILABLE, // try again later: starting, stopping, disk full  503 / UNAVAILABLE
    ERR_CANCELED,    // the client went away                            499 / CANCELLED
    ERR_TIMEOUT,     //                                                 503 / DEADLINE_EXCEEDED
    ERR_CORRUPT,     // stored bytes fail their checks                  500 / DATA_LOSS
    ERR_IO,          // the operating system said no                    500 / INTERNAL
    ERR_CODE_COUNT
};

#define ERR_TEXT_MAX 512

struct err {
    enum err_code code;
    uint32_t line, col;      // position in a query text, from 1; 0 = none
    char text[ERR_TEXT_MAX]; // NUL-terminated, valid UTF-8 unless the input was not
};

#define ERR_OK ((struct err){0})

/* Sets code and message (cut at the buffer's end, "…" marks the cut). Returns false. */
bool err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with a position in a text. */
bool err_at(struct err *err, uint32_t line, uint32_t col, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* From errno: "<what>: <strerror>"; ENOSPC and EDQUOT become ERR_UNAVAILABLE, others ERR_IO. */
bool err_errno(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Puts context in front: "segment a.db: <old text>". Keeps the code. Returns false. */
bool err_in(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

int err_http(enum err_code code);         // status of the table above
int err_grpc(enum err_code code);         // google.rpc.Code
const char *err_name(enum err_code code); // "invalid", "not_found", ...: for logs and metrics
