package lua

import "sync"

// Tables is where external tables live: table id, key text, encoded value. One Tables can serve several VMs, one after
// another; a real program would keep it in a file or a database. It is safe for concurrent use, so a program may look
// into it while a VM runs.
type Tables struct {
	mu     sync.RWMutex
	tables map[uint32]map[string][]byte
}

// NewTables makes an empty Tables.
func NewTables() *Tables {
	return &Tables{tables: make(map[uint32]map[string][]byte)}
}

// Set stores a copy of value; the table comes into being when it is new.
func (t *Tables) Set(id uint32, key string, value []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tables[id] == nil {
		t.tables[id] = make(map[string][]byte)
	}
	t.tables[id][key] = append([]byte{}, value...)
}

// Get returns the value's bytes, which are not to be changed, and whether there is such an entry.
func (t *Tables) Get(id uint32, key string) ([]byte, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	value, ok := t.tables[id][key]
	return value, ok
}

// Delete removes a key and tells whether there is such a table.
func (t *Tables) Delete(id uint32, key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	table, ok := t.tables[id]
	delete(table, key)
	return ok
}

// Size counts the entries of a table; an unknown table has none.
func (t *Tables) Size(id uint32) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.tables[id])
}

// Keys returns all keys in no particular order, and whether there is such a table.
func (t *Tables) Keys(id uint32) ([]string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	table, ok := t.tables[id]
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	return keys, ok
}
