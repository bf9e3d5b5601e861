/*
 * attr.h - compiler attributes, under names that say what they mean.
 */
#ifndef SPENDD_BASE_ATTR_H
#define SPENDD_BASE_ATTR_H

/* The result says whether it worked: ignoring it is a bug that the compiler finds. */
#define MUST_CHECK __attribute__((warn_unused_result))

/* Format string in argument `fmt`, its arguments from `first` on: checked like printf's. */
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

#define NORETURN __attribute__((noreturn))

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
