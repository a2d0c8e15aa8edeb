/** Name and source. */
export const examples = [
  ["Hello", `-- Press Run, or Ctrl+Enter. The script runs in a sandbox in this page.
local name = "world"
print("Hello, " .. name .. "!")

for i = 1, 3 do
  print(i, i ^ 2, ("*"):rep(i))
end

return _VERSION, 6 * 7
`],
  ["A counter that stays", `-- What is in _home outlives the run, and the page. Run it twice, reload, run again.
_home.visits = (_home.visits or 0) + 1
_home.log = _home.log or {}
table.insert(_home.log, os.date("%H:%M:%S"))

print("visit number " .. _home.visits)
return #_home.log
`],
  ["An inventory", `-- Tables in tables: open them on the right.
_home.stock = _home.stock or {
  tea    = { price = 3.5, left = 12, tags = { "hot", "green" } },
  coffee = { price = 2.8, left = 40, tags = { "hot" } },
  juice  = { price = 4.0, left = 7,  tags = { "cold", "fresh" } },
}

local function sell(name, count)
  local item = _home.stock[name] or error("no such item: " .. name)
  if item.left < count then
    error(("only %d of %s left"):format(item.left, name))
  end
  item.left = item.left - count
  return item.price * count
end

print(("2 tea: %.2f"):format(sell("tea", 2)))
print(("1 juice: %.2f"):format(sell("juice", 1)))
return _home.stock.tea.left
`],
  ["All or nothing", `-- A run that fails stores nothing: the second transfer is one too many,
-- so the first one did not happen either.
_home.accounts = _home.accounts or { alice = 100, bob = 20 }

local function transfer(from, to, amount)
  local accounts = _home.accounts
  accounts[from] = accounts[from] - amount
  accounts[to] = accounts[to] + amount
  if accounts[from] < 0 then
    error(from .. " has too little money")
  end
  print(from .. " gave " .. to .. " " .. amount)
end

-- The first run opens the accounts. Run it again.
if not _home.opened then _home.opened = true return "accounts opened" end
transfer("alice", "bob", 60)
transfer("alice", "bob", 60)
`],
  ["Functions in a table", `-- A stored function keeps what it has captured.
if not _home.account then
  local balance = 0
  _home.account = {
    deposit = function(amount)
      balance = balance + amount
      return balance
    end,
    balance = function() return balance end,
  }
end

_home.account.deposit(25)
return _home.account.balance()
`],
  ["An error", `local order = { items = { { name = "tea", count = 2 } } }

local function total(order)
  local sum = 0
  for _, item in ipairs(order.items) do
    sum = sum + item.price * item.count
  end
  return sum
end

print("counting ...")
print(total(order))
`],
  ["A runaway script", `-- It never ends. The page stays alive: press Stop.
local n = 0
while true do
  n = n + 1
  if n % 5000000 == 0 then print(n) end
end
`],
  ["Waiting", `-- sleep is a JavaScript function that returns a promise. Lua just waits.
for i = 3, 1, -1 do
  print(i .. " ...")
  sleep(0.7)
end
print("Lift-off!")
`],
  ["Coroutines", `local function permutations(list, n)
  n = n or #list
  if n <= 1 then
    coroutine.yield(list)
  else
    for i = 1, n do
      list[n], list[i] = list[i], list[n]
      permutations(list, n - 1)
      list[n], list[i] = list[i], list[n]
    end
  end
end

for list in coroutine.wrap(function() permutations { "a", "b", "c" } end) do
  print(table.concat(list, " "))
end
`],
  ["Big numbers", `local bigint = require "bigint"

local product = bigint.new(1)
for i = 2, 60 do
  product = product * i
end

print("60! = " .. tostring(product))
print("digits: " .. #tostring(product))
return tostring(bigint.pow(2, 200))
`],
  ["The game of life", `local width, height = 32, 14
local grid = {}
math.randomseed(4)
for y = 1, height do
  grid[y] = {}
  for x = 1, width do grid[y][x] = math.random() < 0.3 end
end

local function alive(x, y)
  return grid[(y - 1) % height + 1][(x - 1) % width + 1]
end

local function step()
  local after = {}
  for y = 1, height do
    after[y] = {}
    for x = 1, width do
      local n = 0
      for dy = -1, 1 do
        for dx = -1, 1 do
          if (dx ~= 0 or dy ~= 0) and alive(x + dx, y + dy) then n = n + 1 end
        end
      end
      after[y][x] = n == 3 or (n == 2 and alive(x, y))
    end
  end
  grid = after
end

for _ = 1, 20 do step() end
for y = 1, height do
  local line = {}
  for x = 1, width do line[x] = alive(x, y) and "●" or "·" end
  print(table.concat(line))
end
`],
];
