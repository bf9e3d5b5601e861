/*
 * mask.h - a secret as it may be shown: passwords in URLs and keyword lists become ***.  Pure.
 */
#ifndef SPENDD_CONFIG_MASK_H
#define SPENDD_CONFIG_MASK_H

#include <stddef.h>

/* redis://u:pw@h -> redis://u:***@h, ?password=pw -> ?password=***, password=pw -> password=***.
 * `file:/path` stays (the path is no secret); what is neither a URL nor keywords is *** whole. */
void secret_mask(const char *value, char *to, size_t size);

/* A secret word: *** whatever it looks like, unless it is empty or a `file:/path`. */
void secret_hide(const char *value, char *to, size_t size);

#endif
