/*
 * page_files.h - the files of workers/gateway/page, as they are within the executable (Makefile).
 */
#ifndef SPENDD_GATEWAY_PAGE_FILES_H
#define SPENDD_GATEWAY_PAGE_FILES_H

extern const char page_html[], page_css[], page_js[], page_svg[];

#endif
