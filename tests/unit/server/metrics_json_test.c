/* metrics_json_test.c - our metrics as JSON. */
#include "server/self/metrics_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char text[] =
    "# HELP a_total Some a.\n# TYPE a_total counter\na_total{x=\"1\",y=\"z\"} 2\n"
    "a_total{x=\"2\"} 1e+21\n"
    "# HELP none Nothing.\n# TYPE none gauge\n"
    "# HELP g A g.\n# TYPE g gauge\ng -1.5\n"
    "# HELP d A d.\n# TYPE d histogram\n"
    "d_bucket{r=\"q\",le=\"0.5\"} 1\nd_bucket{r=\"q\",le=\"+Inf\"} 3\n"
    "d_sum{r=\"q\"} 4.5\nd_count{r=\"q\"} 3\n"
    "d_bucket{le=\"+Inf\"} 1\nd_sum 7\nd_count 1\n"
    "# HELP inf Much.\n# TYPE inf gauge\ninf +Inf\n";

static void print(const char *pattern, struct buf *out)
{
    struct sink_buf sink;
    struct json j;
    struct regex *re = NULL;
    struct err err = ERR_OK;
    if (pattern != NULL)
        assert_true(regex_open(str_c(pattern), REGEX_ANCHORED, &re, &err));
    buf_clear(out);
    sink_buf_init(&sink, out);
    json_begin(&j, &sink.sink);
    assert_true(metrics_json(&j, str_c(text), re, &err));
    assert_true(json_end(&j));
    buf_add_char(out, '\0');
    regex_close(re);
}

static void families(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, MIB);
    print(NULL, &b);
    assert_string_equal(
        b.p, "[{\"name\":\"a_total\",\"help\":\"Some a.\",\"type\":\"COUNTER\",\"metric\":["
             "{\"label\":[{\"name\":\"x\",\"value\":\"1\"},{\"name\":\"y\",\"value\":\"z\"}],"
             "\"counter\":{\"value\":2}},"
             "{\"label\":[{\"name\":\"x\",\"value\":\"2\"}],\"counter\":{\"value\":1e+21}}]},"
             "{\"name\":\"g\",\"help\":\"A "
             "g.\",\"type\":\"GAUGE\",\"metric\":[{\"gauge\":{\"value\":-1.5}}]},"
             "{\"name\":\"d\",\"help\":\"A d.\",\"type\":\"HISTOGRAM\",\"metric\":["
             "{\"label\":[{\"name\":\"r\",\"value\":\"q\"}],\"histogram\":{\"bucket\":["
             "{\"cumulativeCount\":\"1\",\"upperBound\":0.5},"
             "{\"cumulativeCount\":\"3\",\"upperBound\":\"Infinity\"}],"
             "\"sampleCount\":\"3\",\"sampleSum\":4.5}},"
             "{\"label\":[],\"histogram\":{\"bucket\":["
             "{\"cumulativeCount\":\"1\",\"upperBound\":\"Infinity\"}],"
             "\"sampleCount\":\"1\",\"sampleSum\":7}}]},"
             "{\"name\":\"inf\",\"help\":\"Much.\",\"type\":\"GAUGE\",\"metric\":"
             "[{\"gauge\":{\"value\":\"Infinity\"}}]}]");
    print("g|x.*", &b);
    assert_string_equal(b.p, "[{\"name\":\"g\",\"help\":\"A g.\",\"type\":\"GAUGE\",\"metric\":"
                             "[{\"gauge\":{\"value\":-1.5}}]}]");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
