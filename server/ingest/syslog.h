/* syslog.h - syslog messages (RFC 5424, RFC 3164 and what is sent as such) to log entries, and the
 * frames of syslog over TCP (RFC 6587). Pure; the sockets are in server/syslog_server.c.
 *
 * Stream labels: job="syslog", host (the message's, else the sender's address), app, as Promtail's
 * target names them. Metadata: facility, severity, proc_id, msg_id, structured data as
 * sd_<id>_<name>, detected_level from the severity. The line is the message's text. */
#pragma once

#include "server/ingest/log_time.h"
#include "server/ingest/log_writer.h"

struct syslog_message { // texts are borrowed
    bool is_5424;
    int facility, severity; // user, notice when it has no priority
    bool has_time;
    struct log_time time;
    str host, app, proc_id, msg_id, sd; // empty: absent; sd as sent
    str text;
};

/* Takes anything: what fits neither RFC is a text. False: it is not what it claims to be (no
 * priority, or broken behind the version of RFC 5424); *out is set all the same. */
bool syslog_parse(str raw, const struct log_clock *c, struct syslog_message *out);

struct syslog_arrival {
    int64_t now_ns;             // when it came
    int64_t past_ns, future_ns; // a time further away from now is replaced by now; 0: any is taken
    uint64_t seq;               // of the message: keeps the order of those that share a time
    str peer;                   // the sender's address, without port
};

/* One entry. False: as of syslog_parse. */
bool syslog_add(struct log_writer *w, str raw, int64_t zone_s, const struct syslog_arrival *a);

/* ---- frames of a stream ---- */

/* Zero value and syslog_frames_init. Frames that begin with a digit are counted, others end with
 * LF or NUL. Long digits are a length only where a priority follows: a line may begin with a date.
 * What is above LIMIT_SYSLOG_MESSAGE is cut, and the message says how much of it. */
struct syslog_frames {
    struct buf held; // an unfinished frame
    uint64_t due;    // bytes that a counted frame lacks; 0: not within one
    bool is_counted; // the digits of a length are held
    bool is_cut;     // some of the frame was left out
    uint64_t lost;   // so many bytes
};
typedef void syslog_frame_fn(void *ctx, str message, bool is_cut);

void syslog_frames_init(struct syslog_frames *f);
void syslog_frames_deinit(struct syslog_frames *f);
void syslog_frames_feed(struct syslog_frames *f, str bytes, syslog_frame_fn *fn, void *ctx);
/* The stream ends: what is held is the last message. */
void syslog_frames_end(struct syslog_frames *f, syslog_frame_fn *fn, void *ctx);
