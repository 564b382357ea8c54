/* stage_format.c - line_format and label_format. */
#include "query/logql/pipeline.h"

bool lq_compile_line_format(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                            struct lq_stage *out, struct err *err)
{
    (void)q, (void)s, (void)pipe, (void)out;
    return err_set(err, ERR_UNSUPPORTED, ": line_format is not built yet");
}

bool lq_compile_label_format(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                             struct lq_stage *out, struct err *err)
{
    (void)q, (void)s, (void)pipe, (void)out;
    return err_set(err, ERR_UNSUPPORTED, ": label_format is not built yet");
}
