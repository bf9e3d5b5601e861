/*
 * redis_settings.c - what the settings say about Redis, as options of the door.
 *
 * Pure.  The one place where settings become options: who opens the door (redis_writer, db_flusher,
 * health_checker, control) names itself and knows nothing of how Redis is reached.
 */
#include "common/redis/redis.h"

#include "common/config/settings.h"

struct redis_options redis_options_from(const struct settings *settings, const char *client)
{
    return (struct redis_options){
        .url = settings->redis_url,
        .client = client,
        .connect_ms = settings->redis_connect_ms,
        .command_ms = settings->redis_command_ms,
        .backoff_max_ms = settings->redis_backoff_max_ms,
        .backoff_slow_max_ms = settings->redis_backoff_slow_max_ms,
        .tls = {.ca = settings->redis_tls_ca,
                .cert = settings->redis_tls_cert,
                .key = settings->redis_tls_key,
                .name = settings->redis_tls_name,
                .verify = settings->redis_tls_verify},
        .sentinels = settings->redis_sentinels,
        .sentinel_master = settings->redis_sentinel_master,
        .sentinel_user = settings->redis_sentinel_user,
        .sentinel_password = settings->redis_sentinel_password,
        .cluster_nodes = settings->redis_cluster_nodes,
        .key = settings->redis_prefix, /* its {tag} is every key's */
    };
}
