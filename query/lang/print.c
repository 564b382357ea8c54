/* print.c - literals as the languages print them; the quoting itself is that of label values. */
#include "query/lang/print.h"

#include "storage/model/labels.h"

void print_quoted(struct buf *b, str s)
{
    label_quote(b, s);
}

void print_ident(struct buf *b, str name)
{
    if (label_name_valid(name))
        buf_add(b, name);
    else
        label_quote(b, name);
}
