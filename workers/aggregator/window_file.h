/*
 * window_file.h - the dedupe window over a restart: its image in the lane, and the ids of segments.
 */
#ifndef SPENDD_AGGREGATOR_WINDOW_FILE_H
#define SPENDD_AGGREGATOR_WINDOW_FILE_H

#include "workers/aggregator/lane.h"
#include "workers/aggregator/window.h"

/* The window as the former holder left it, and a fresh image file; *image_fd -1: there is none, and
 * segments wait for their age. */
struct window *window_file_open(struct lane *lane, int *image_fd, struct err *err);

#endif
