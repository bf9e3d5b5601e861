/*
 * http_metrics.c - GET /metrics: the figures as Prometheus reads them (common/stats/exposition.h).
 *
 * Who asks for OpenMetrics gets it; everybody else the older text form, which everything reads.
 * Open to all who reach the status address: it shows counts, and names of models and of this instance.
 * Owns nothing; if we die on any line, the asker asks again.
 */
#include "workers/gateway/picture.h"

#include <stdlib.h>
#include <string.h>

void handle_metrics(struct gateway *gateway, struct request *request)
{
    const char *accept = http_accept(request);
    struct picture picture;
    size_t bytes;
    char *text;

    picture_take(&picture, gateway);
    picture.shown.openmetrics = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;
    text = exposition_text(&picture.shown, &bytes);
    if (text == NULL)
        http_refuse(request, 500, "no memory for the metrics");
    else
        http_answer(request, 200, picture.shown.openmetrics ? EXPOSITION_TYPE_OPENMETRICS : EXPOSITION_TYPE, text,
                    bytes);
    free(text);
    picture_drop(&picture);
}
