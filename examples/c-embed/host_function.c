/* Lets scripts call a C function. */
#include <luacell.h>
#include <stdio.h>
#include <string.h>

/* price(article), from a list that the program holds. */
typedef struct Prices {
  const char *article;
  double price;
} Prices;

static luacell_status price(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  const Prices *prices = userdata;
  luacell_bytes article;
  luacell_status status = luacell_value_to_string(luacell_values_get(args, 0), &article, error);
  if (status != LUACELL_OK) return status; /* the error goes on to the script */
  for (; prices->article != NULL; prices++)
    if (article.len == strlen(prices->article) && memcmp(article.data, prices->article, article.len) == 0)
      return luacell_values_push_float(results, prices->price, error);
  *error = luacell_error_new("no such article", 15, NULL, NULL);
  return LUACELL_HOST_FUNCTION;
}

int main(void) {
  Prices prices[] = {{"tea", 3.5}, {"cake", 2.25}, {NULL, 0}};
  luacell_sandbox *sandbox = NULL;
  luacell_outcome *outcome = NULL;
  luacell_bytes text;
  if (luacell_sandbox_new(NULL, NULL, &sandbox, NULL) != LUACELL_OK) return 1;
  if (luacell_register(sandbox, "price", 5, price, prices, NULL, NULL) != LUACELL_OK) return 1;
  const char *source = "return ('%.2f, %s'):format(price('tea') + price('cake'), select(2, pcall(price, 'moon')))";
  if (luacell_compute(sandbox, source, strlen(source), NULL, &outcome, NULL) != LUACELL_OK) return 1;
  luacell_value_to_string(luacell_outcome_value(outcome), &text, NULL);
  printf("%.*s\n", (int)text.len, text.data);
  luacell_outcome_free(outcome);
  luacell_sandbox_free(sandbox);
  return 0;
}
