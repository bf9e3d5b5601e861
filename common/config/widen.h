/*
 * widen.h - libconfig 1.5 reads 8589934592 as 0: a number beyond 32 bits needs an L behind it, and without
 * one it wraps in silence.  This puts the L there.  Pure.
 */
#ifndef SPENDD_CONFIG_WIDEN_H
#define SPENDD_CONFIG_WIDEN_H

/* A copy of the file's text in which every decimal number of ten digits or more ends in L; comments and
 * strings are as they were, and so is every line's number.  The caller frees.  NULL: no memory. */
char *config_widen(const char *text);

#endif
