/* A rules engine: users write the rules in Lua (../rules.lua), the program feeds orders to them. */
#include <luacell.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Item {
  const char *article;
  int64_t count;
} Item;

typedef struct Order {
  const char *customer;
  int64_t box;
  Item items[2];
} Order;

static const Order orders[] = {
    {"Ada", 4, {{"tea", 2}, {"cake", 1}}}, {"Ada", 4, {{"moon", 1}}}, {"Grace", 4, {{"tea", 10}}},
    {"Eve", 0, {{"tea", 1}}},              {"Ada", 1, {{"tea", 1}}},
};

/* price(article), nil for what is not sold. */
static luacell_status price(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  luacell_bytes article;
  (void)userdata;
  luacell_status status = luacell_value_to_string(luacell_values_get(args, 0), &article, error);
  if (status != LUACELL_OK) return status;
  if (article.len == 3 && memcmp(article.data, "tea", 3) == 0) return luacell_values_push_float(results, 3.5, error);
  if (article.len == 4 && memcmp(article.data, "cake", 4) == 0) return luacell_values_push_float(results, 2.25, error);
  return luacell_values_push_nil(results, error);
}

/* Ends the program and prints everything that is known. */
static void must(luacell_status status, luacell_error *error) {
  if (status == LUACELL_OK) return;
  luacell_bytes message = luacell_error_message(error);
  fprintf(stderr, "%s: %.*s\n", luacell_status_name(status), (int)message.len, message.data != NULL ? message.data : "");
  exit(1);
}

/* Puts a value into a table, and frees it. */
static void set(luacell_value *table, const char *name, luacell_value *value) {
  must(luacell_table_set_field(table, name, strlen(name), value, NULL), NULL);
  luacell_value_free(value);
}

static luacell_value *text(const char *text) {
  return luacell_value_new_string(text, strlen(text));
}

static luacell_value *input_of(const Order *order) {
  luacell_value *input = luacell_value_new_table(), *items = luacell_value_new_table();
  for (size_t i = 0; i < 2 && order->items[i].article != NULL; i++) {
    luacell_value *item = luacell_value_new_table();
    set(item, "article", text(order->items[i].article));
    set(item, "count", luacell_value_new_integer(order->items[i].count));
    must(luacell_table_push(items, item, NULL), NULL);
    luacell_value_free(item);
  }
  set(input, "customer", text(order->customer));
  set(input, "box", luacell_value_new_integer(order->box));
  set(input, "items", items);
  return input;
}

static void print_answer(const char *before, const luacell_outcome *outcome) {
  luacell_bytes answer;
  must(luacell_value_to_string(luacell_outcome_value(outcome), &answer, NULL), NULL);
  printf("%s%.*s\n", before, (int)answer.len, answer.data);
}

static void decide(luacell_sandbox *sandbox, int number, const Order *order) {
  luacell_limits limits = {.size = sizeof limits, .instruction_limit = 100000};
  luacell_compute_options options = {.size = sizeof options, .limits = &limits};
  luacell_outcome *outcome = NULL;
  luacell_error *error = NULL;
  luacell_value *input = input_of(order);
  must(luacell_sandbox_set_input(sandbox, input, &error), error);
  luacell_value_free(input);
  printf("order %d: ", number);
  luacell_status status = luacell_call(sandbox, "decide", 6, &options, &outcome, &error);
  if (status == LUACELL_OK) {
    print_answer("", outcome);
  } else if (status == LUACELL_INSTRUCTION_LIMIT) {
    puts("stopped");
  } else {
    luacell_bytes message = luacell_error_message(error);
    printf("refused: %.*s\n", (int)message.len, message.data);
  }
  luacell_outcome_free(outcome);
  luacell_error_free(error);
}

int main(int argc, char **argv) {
  static char source[1 << 16];
  FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
  if (file == NULL) {
    fprintf(stderr, "usage: %s RULES.lua\n", argv[0]);
    return 2;
  }
  size_t length = fread(source, 1, sizeof source, file);
  fclose(file);

  luacell_sandbox *sandbox = NULL;
  luacell_outcome *outcome = NULL;
  luacell_error *error = NULL;
  luacell_compute_options options = {.size = sizeof options, .name = "=rules", .name_len = 6};
  must(luacell_sandbox_new(NULL, NULL, &sandbox, &error), error);
  must(luacell_register(sandbox, "price", 5, price, NULL, NULL, &error), error);
  must(luacell_compute(sandbox, source, length, &options, NULL, &error), error);
  for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) decide(sandbox, (int)i + 1, &orders[i]);
  must(luacell_call(sandbox, "report", 6, NULL, &outcome, &error), error);
  print_answer("", outcome);
  luacell_outcome_free(outcome);
  luacell_sandbox_free(sandbox);
  return 0;
}
