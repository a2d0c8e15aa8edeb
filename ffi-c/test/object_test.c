/* Functions, objects and iterators of the host as values. */
#include <luacell.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static int ended;

static void end(void *userdata) {
  (void)userdata;
  ended++;
}

static luacell_status add(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  int64_t a = 0, b = 0;
  luacell_status status = luacell_value_to_integer(luacell_values_get(args, 0), &a, error);
  if (status == LUACELL_OK) status = luacell_value_to_integer(luacell_values_get(args, 1), &b, error);
  return status == LUACELL_OK ? luacell_values_push_integer(results, a + b + *(int *)userdata, error) : status;
}

/* Runs a function of the sandbox with these arguments, which end here. */
static luacell_outcome *call(luacell_sandbox *sandbox, const char *name, luacell_value *first, luacell_value *second) {
  luacell_values *args = luacell_values_new();
  luacell_outcome *outcome = NULL;
  CHECK(luacell_values_push(args, first, NULL) == LUACELL_OK);
  if (second != NULL) CHECK(luacell_values_push(args, second, NULL) == LUACELL_OK);
  luacell_compute_options options = {.size = sizeof options, .args = args};
  luacell_status status = luacell_call(sandbox, name, strlen(name), &options, &outcome, &last);
  CHECK(status == LUACELL_OK, "%.*s", (int)luacell_error_message(last).len, luacell_error_message(last).data);
  luacell_values_free(args), luacell_value_free(first), luacell_value_free(second);
  luacell_error_free(last);
  last = NULL;
  return outcome;
}

static void functions(void) {
  test_begin("a function is a value");
  int more = 100;
  ended = 0;
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_outcome_free(run(sandbox, "function put(f, g) kept = f same = f == g end"));
  luacell_value *function = luacell_value_new_function(add, &more, end);
  CHECK(luacell_value_type(function) == LUACELL_TYPE_FUNCTION);
  luacell_outcome_free(call(sandbox, "put", function, luacell_value_clone(function)));
  luacell_outcome *outcome = run(sandbox, "return kept(1, 2), same, kept, select('#', pcall(kept))");
  const luacell_values *values = luacell_outcome_values(outcome);
  CHECK(is_integer(luacell_values_get(values, 0), 103));
  CHECK(luacell_value_type(luacell_values_get(values, 2)) == LUACELL_TYPE_FUNCTION);
  luacell_outcome_free(outcome);
  fails(compute(sandbox, "kept('x')"), LUACELL_HOST_FUNCTION, "");
  CHECK(ended == 0);
  luacell_outcome_free(run(sandbox, "kept = nil"));
  CHECK(luacell_sandbox_gc(sandbox, NULL) == LUACELL_OK);
  CHECK(ended == 1, "%d", ended);
  luacell_sandbox_free(sandbox);
  CHECK(luacell_value_new_function(NULL, NULL, end) == NULL && ended == 2);
}

typedef struct Point {
  int64_t x, y;
  int ended;
} Point;

static void end_point(void *userdata) {
  ((Point *)userdata)->ended++;
}

static luacell_status point_sum(void *userdata, void *object, const luacell_values *args, luacell_values *results, luacell_error **error) {
  const Point *point = object;
  int64_t more = 0;
  (void)userdata;
  if (luacell_values_len(args) > 0) {
    luacell_status status = luacell_value_to_integer(luacell_values_get(args, 0), &more, error);
    if (status != LUACELL_OK) return status;
  }
  return luacell_values_push_integer(results, point->x + point->y + more, error);
}

static luacell_status point_get(void *userdata, void *object, const luacell_values *args, luacell_values *results, luacell_error **error) {
  const Point *point = object;
  CHECK(luacell_values_len(args) == 0);
  return luacell_values_push_integer(results, strcmp(userdata, "x") == 0 ? point->x : point->y, error);
}

static luacell_status point_set(void *userdata, void *object, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)userdata, (void)results;
  return luacell_value_to_integer(luacell_values_get(args, 0), &((Point *)object)->x, error);
}

static luacell_class *points; /* for the operator, which looks at its operands */

static luacell_status point_times(void *userdata, void *object, const luacell_values *args, luacell_values *results, luacell_error **error) {
  int64_t product = 1;
  (void)userdata, (void)object;
  for (size_t i = 0; i < 2; i++) {
    int64_t factor = 0;
    const Point *point = luacell_value_object(luacell_values_get(args, i), points);
    luacell_status status = point != NULL ? LUACELL_OK : luacell_value_to_integer(luacell_values_get(args, i), &factor, error);
    if (status != LUACELL_OK) return status;
    product *= point != NULL ? point->x : factor;
  }
  return luacell_values_push_integer(results, product, error);
}

static const luacell_member members[] = {
  {LUACELL_METHOD, "sum", point_sum, NULL},
  {LUACELL_READER, "x", point_get, (void *)"x"},
  {LUACELL_READER, "y", point_get, (void *)"y"},
  {LUACELL_WRITER, "x", point_set, NULL},
  {LUACELL_METAMETHOD, "__mul", point_times, NULL},
};

static void objects(void) {
  test_begin("an object has what its class lists");
  ended = 0;
  Point point = {1, 2, 0}, other = {5, 6, 0};
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_class *class = NULL, *lesser = NULL;
  CHECK(luacell_class_new("Point", 5, members, 5, NULL, end, &class, NULL) == LUACELL_OK);
  CHECK(luacell_class_new("Lesser", 6, members + 1, 1, NULL, NULL, &lesser, NULL) == LUACELL_OK);
  points = class;
  luacell_outcome_free(run(sandbox, "function put(a, b) p, q = a, b end"));
  luacell_value *value = luacell_value_new_object(class, &point, &point, end_point);
  CHECK(luacell_value_type(value) == LUACELL_TYPE_OBJECT);
  CHECK(luacell_value_object(value, class) == &point && luacell_value_object(value, lesser) == NULL && luacell_value_object(NULL, class) == NULL);
  luacell_outcome_free(call(sandbox, "put", value, luacell_value_new_object(lesser, &other, &other, end_point)));
  CHECK(point.ended == 0 && other.ended == 0);
  const char *results = "p.x = 10 assert(p:sum() == 12 and p:sum(3) == 15 and p.y == 2 and p * 2 == 20 and 3 * p == 30 and p * p == 100) "
                        "assert(p.z == nil and q.x == 5 and q.y == nil and q.sum == nil and type(p) == 'userdata') return p, q";
  luacell_outcome *outcome = run(sandbox, results);
  CHECK(luacell_value_object(luacell_outcome_value(outcome), class) == &point && point.x == 10);
  luacell_outcome_free(outcome);
  fails(compute(sandbox, "p.y = 1"), LUACELL_RUNTIME, "can't set 'y' of a Point");
  fails(compute(sandbox, "p.sum(q)"), LUACELL_HOST_FUNCTION, "needs a Point");
  fails(compute(sandbox, "p.x = {}"), LUACELL_HOST_FUNCTION, "");
  fails(compute(sandbox, "return p + 1"), LUACELL_RUNTIME, "arithmetic");
  fails(compute(sandbox, "_home.p = p"), LUACELL_CONVERSION, "can't store a Point");
  /* One pointer, one object. */
  outcome = call(sandbox, "rawequal", luacell_value_new_object(class, &point, &point, end_point), luacell_value_new_object(class, &point, &point, end_point));
  bool same = false;
  CHECK(luacell_value_to_boolean(luacell_outcome_value(outcome), &same, NULL) == LUACELL_OK && same);
  luacell_outcome_free(outcome);
  luacell_class_free(class), luacell_class_free(lesser);
  CHECK(ended == 0, "the objects need their class");
  luacell_outcome_free(run(sandbox, "assert(p:sum() == 12) p, q = nil"));
  CHECK(luacell_sandbox_gc(sandbox, NULL) == LUACELL_OK && luacell_sandbox_gc(sandbox, NULL) == LUACELL_OK);
  CHECK(point.ended == 3 && other.ended == 1 && ended == 1, "%d %d %d", point.ended, other.ended, ended);
  luacell_sandbox_free(sandbox);
}

static luacell_status wrong (const luacell_member *member, const char *part) {
  luacell_class *class = NULL;
  int before = ended;
  luacell_status status = luacell_class_new("C", 1, member, 1, NULL, end, &class, &last);
  fails(status, LUACELL_INVALID_ARGUMENT, part);
  CHECK(ended == before + 1 && class == NULL);
  return status;
}

static void what_makes_no_sense(void) {
  test_begin("a class that makes no sense is refused");
  wrong(NULL, "members is NULL");
  wrong(&(luacell_member){LUACELL_METHOD, NULL, point_sum, NULL}, "name");
  wrong(&(luacell_member){LUACELL_METHOD, "\xff", point_sum, NULL}, "UTF-8");
  wrong(&(luacell_member){LUACELL_METHOD, "f", NULL, NULL}, "'f' is NULL");
  wrong(&(luacell_member){LUACELL_METAMETHOD, "__gc", point_sum, NULL}, "'__gc'");
  wrong(&(luacell_member){7, "f", point_sum, NULL}, "7 is no kind");
  CHECK(luacell_class_new("C", 1, NULL, 0, NULL, NULL, NULL, NULL) == LUACELL_INVALID_ARGUMENT);
  CHECK(luacell_value_new_object(NULL, NULL, NULL, end) == NULL);
  luacell_class_free(NULL);
}

typedef struct Counting {
  int64_t at, until;
  int ended;
} Counting;

static luacell_status next(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  Counting *counting = userdata;
  CHECK(luacell_values_len(args) == 0);
  if (counting->at == counting->until) return LUACELL_OK;
  counting->at++;
  luacell_status status = luacell_values_push_integer(results, counting->at, error);
  return status == LUACELL_OK ? luacell_values_push_integer(results, counting->at * counting->at, error) : status;
}

static void end_counting(void *userdata) {
  ((Counting *)userdata)->ended++;
}

static void iterators(void) {
  test_begin("a loop ends its iterator");
  Counting whole = {0, 3, 0}, left = {0, 1000000, 0};
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_outcome_free(run(sandbox, "function sum(it, most) local s = 0 for a, b in it do if a > most then break end s = s + b end return s end"));
  luacell_outcome *outcome = call(sandbox, "sum", luacell_value_new_iterator(next, &whole, end_counting), luacell_value_new_integer(100));
  CHECK(is_integer(luacell_outcome_value(outcome), 14));
  luacell_outcome_free(outcome);
  outcome = call(sandbox, "sum", luacell_value_new_iterator(next, &left, end_counting), luacell_value_new_integer(2));
  CHECK(is_integer(luacell_outcome_value(outcome), 5) && left.at == 3);
  luacell_outcome_free(outcome);
  CHECK(whole.ended == 1 && left.ended == 1, "%d %d", whole.ended, left.ended);
  luacell_sandbox_free(sandbox);
  CHECK(luacell_value_new_iterator(NULL, NULL, NULL) == NULL);
}

static void null(void) {
  test_begin("null is a value");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_outcome_free(run(sandbox, "function is_null(v) return v == require('json').null end"));
  bool same = false;
  luacell_outcome *outcome = call(sandbox, "is_null", luacell_value_new_null(), NULL);
  CHECK(luacell_value_to_boolean(luacell_outcome_value(outcome), &same, NULL) == LUACELL_OK && same);
  luacell_outcome_free(outcome);
  outcome = run(sandbox, "return require('json').null");
  CHECK(luacell_value_type(luacell_outcome_value(outcome)) == LUACELL_TYPE_NULL);
  luacell_outcome_free(outcome);
  luacell_sandbox_free(sandbox);
}

int main(void) {
  null();
  functions();
  objects();
  what_makes_no_sense();
  iterators();
  return tests_end();
}
