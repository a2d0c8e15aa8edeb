/* The corpus's notation for values: reading it, and comparing with what a run gave. */
#ifndef CORPUS_VALUES_H
#define CORPUS_VALUES_H

#include <jansson.h>
#include <luacell.h>
#include <stdbool.h>

typedef struct Text {
  char *data;
  size_t length;
} Text;

/* Text, {"hex": ...} or {"repeat": [text, count]}; to be freed. */
Text text_of(const json_t *json);
Text text_of_hex(const char *hex);
/* The texts of a list, joined. */
Text text_of_parts(const json_t *list);
void text_free(Text text);

/* A list of values, in which tables may be shared; to be freed. */
luacell_values *values_of(const json_t *list);

/* Whether all values are what the list says. */
bool same_values(const json_t *list, const luacell_values *values);

#endif
