-- Rules for orders, the same for the example of every language binding. Each host program
--   - runs this file with the chunk name "=rules", after registering price(article): 3.5 for tea, 2.25 for cake, otherwise nil;
--   - sets _io.input and calls decide(), at most 100,000 instructions each, for these orders (customer, box, items as article and count):
--       Ada 4 tea 2, cake 1 | Ada 4 moon 1 | Grace 4 tea 10 | Eve 0 tea 1 | Ada 1 tea 1
--     and prints "order 1: " with the answer, or "refused: " and the error's message; "stopped" for the kind InstructionLimit;
--   - prints what report() gives. All of it has to be examples/rules-report.txt.

_home.orders = _home.orders or 0
_home.revenue = _home.revenue or 0
_home.customers = _home.customers or {}

local rules = {
  function(order) -- every article has its price
    for _, item in ipairs(order.items) do
      local each = price(item.article) or error("no price for " .. item.article, 0)
      order.total = order.total + each * item.count
    end
  end,
  function(order) -- large orders are cheaper
    if order.total >= 20 then
      order.total = order.total * 0.75
      order.note = ", large order"
    end
  end,
  function(order) -- this one never ends for an order with box = 0
    local left = 0
    for _, item in ipairs(order.items) do left = left + item.count end
    while left > 0 do
      left = left - order.box
      order.boxes = order.boxes + 1
    end
  end,
}

function decide()
  local order = {customer = _io.input.customer, items = _io.input.items, box = _io.input.box, total = 0, boxes = 0, note = ""}
  _home.orders = _home.orders + 1 -- not kept when a rule fails: a run is a transaction
  for _, rule in ipairs(rules) do rule(order) end
  _home.revenue = _home.revenue + order.total
  _home.customers[order.customer] = (_home.customers[order.customer] or 0) + 1
  return string.format("%s pays %.2f, boxes: %d%s", order.customer, order.total, order.boxes, order.note)
end

function report()
  local lines = {string.format("%d orders, revenue %.2f", _home.orders, _home.revenue)}
  local names = {}
  for name in pairs(_home.customers) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do lines[#lines + 1] = string.format("  %s: %d", name, _home.customers[name]) end
  return table.concat(lines, "\n")
end
