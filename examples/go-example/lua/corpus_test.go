package lua

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// offered is what a host of that revision has beyond five functions and `compute`.
var offered = map[Revision][]string{
	Revision1: {"reopen"},
	Revision3: {"args", "call", "input", "large", "reopen", "table_keys", "waiting"},
}

// The form of the corpus is described in core/tests/cases/README.md.
type corpusCase struct {
	Name    string
	Needs   []string
	Declare []string
	Steps   []corpusStep
}

type corpusStep struct {
	Source      *string
	SourceHex   *string           `json:"source_hex"`
	SourceParts []json.RawMessage `json:"source_parts"`
	Call        *string
	SetInput    json.RawMessage `json:"set_input"`
	Reopen, GC  bool
	Args        []json.RawMessage
	Chunk       *string
	Times       int
	Waits       *[]corpusWait
	Values      *[]json.RawMessage
	Output      json.RawMessage
	Error       *struct {
		Message  json.RawMessage
		Contains *string `json:"message_contains"`
	}
}

// corpusWait is what a run waits for, and the answers; without them it is cancelled.
type corpusWait struct {
	Requests []struct {
		ID   uint32
		Name string
		Args *[]json.RawMessage
	}
	Answers *[]struct {
		ID     uint32
		Values []json.RawMessage
		Error  *string
	}
}

// Run one case with -run 'TestCorpus/revision_1/part_of_its_name'.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "core", "tests", "cases", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, revision := range []Revision{Revision1, Revision3} {
		ran, unoffered := 0, 0
		t.Run(fmt.Sprintf("revision %d", revision), func(t *testing.T) {
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var cases []corpusCase
				if err := json.Unmarshal(text, &cases); err != nil {
					t.Fatal(file, err)
				}
				for _, c := range cases {
					if slices.ContainsFunc(c.Needs, func(need string) bool { return !slices.Contains(offered[revision], need) }) {
						unoffered++
						continue
					}
					ran++
					t.Run(filepath.Base(file)+": "+c.Name, func(t *testing.T) { c.run(t, revision) })
				}
			}
		})
		fmt.Printf("corpus: %d cases with revision %d, %d need what a bare host has not\n", ran, revision, unoffered)
		if ran == 0 {
			t.Error("no case ran")
		}
	}
}

func (c *corpusCase) run(t *testing.T, revision Revision) {
	tables := NewTables()
	open := func(next uint32) *VM {
		vm := start(t, luaModule, Options{Tables: tables, NextTableID: next, Revision: revision})
		for _, name := range c.Declare {
			if err := vm.Declare(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		return vm
	}
	vm := open(0)
	for i, step := range c.Steps {
		for round := range max(step.Times, 1) {
			var err error
			switch {
			case step.Reopen:
				next, failed := vm.NextTableID(t.Context())
				if failed != nil {
					t.Fatal(failed)
				}
				vm.Close(t.Context())
				vm = open(next)
			case step.GC:
				err = vm.CollectGarbage(t.Context())
			case step.SetInput != nil:
				_, err = vm.ComputeNamed(t.Context(), "", "_io.input = ...", values([]json.RawMessage{step.SetInput})...)
			default:
				err = step.run(t, vm, revision)
			}
			if err != nil {
				t.Fatalf("step %d, round %d: %v", i+1, round+1, err)
			}
		}
	}
}

func (s *corpusStep) run(t *testing.T, vm *VM, revision Revision) error {
	run := s.compute
	if s.Waits != nil {
		run = s.startAndAnswer
	}
	result, err := run(t, vm)
	if err == nil && result == nil {
		return nil // cancelled
	}
	var raised *Error
	if errors.As(err, &raised) && s.Error != nil {
		if s.Error.Message != nil && raised.Message != text(s.Error.Message) {
			return fmt.Errorf("other message: %q", raised.Message)
		}
		if s.Error.Contains != nil && !strings.Contains(raised.Message, *s.Error.Contains) {
			return fmt.Errorf("other message: %q", raised.Message)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if s.Error != nil {
		return fmt.Errorf("no error, but %s", Show(result.Values...))
	}
	if s.Output != nil && result.Output != text(s.Output) {
		return fmt.Errorf("output %q", result.Output)
	}
	if s.Values == nil {
		return nil
	}
	return compare(vm, *s.Values, result.Values, revision)
}

func compare(vm *VM, want []json.RawMessage, got []Value, revision Revision) error {
	c := &comparison{tables: vm.Tables, known: map[string]*Table{}, stored: map[External]*Table{}}
	same := len(want) == len(got)
	for i := 0; same && i < len(got); i++ {
		same = c.same(parse(want[i]), got[i], revision == Revision1)
	}
	if !same {
		return fmt.Errorf("values %.500s", Show(got...))
	}
	return nil
}

func (s *corpusStep) compute(t *testing.T, vm *VM) (*Result, error) {
	args := values(s.Args)
	if s.Call != nil {
		return vm.Call(t.Context(), *s.Call, args...)
	}
	source, err := s.source()
	if err != nil {
		return nil, err
	}
	if s.Args == nil && s.Chunk == nil {
		return vm.Compute(t.Context(), source)
	}
	name := ""
	if s.Chunk != nil {
		name = *s.Chunk
	}
	return vm.ComputeNamed(t.Context(), name, source, args...)
}

// startAndAnswer is the same for a run that waits; no result when the case has it cancelled.
func (s *corpusStep) startAndAnswer(t *testing.T, vm *VM) (*Result, error) {
	result, err := s.startRun(t, vm)
	for i, wait := range *s.Waits {
		if err != nil || !vm.Waiting() {
			return nil, fmt.Errorf("wait %d: it has ended, %v", i+1, err)
		}
		if err := wait.check(vm); err != nil {
			return nil, fmt.Errorf("wait %d: %w", i+1, err)
		}
		if wait.Answers == nil {
			return nil, vm.Cancel(t.Context())
		}
		for _, answer := range *wait.Answers {
			if answer.Error != nil {
				err = vm.Fail(answer.ID, *answer.Error)
			} else {
				err = vm.Answer(answer.ID, values(answer.Values)...)
			}
			if err != nil {
				return nil, err
			}
		}
		result, err = vm.Resume(t.Context())
	}
	if vm.Waiting() {
		return nil, fmt.Errorf("it waits once more, for %v", vm.Requests())
	}
	return result, err
}

func (s *corpusStep) startRun(t *testing.T, vm *VM) (*Result, error) {
	args := values(s.Args)
	if s.Call != nil {
		return vm.StartCall(t.Context(), *s.Call, args...)
	}
	source, err := s.source()
	if err != nil {
		return nil, err
	}
	return vm.Start(t.Context(), source, args...)
}

// check compares what the run waits for.
func (w *corpusWait) check(vm *VM) error {
	open := vm.Requests()
	if len(open) != len(w.Requests) {
		return fmt.Errorf("other requests: %v", open)
	}
	for i, want := range w.Requests {
		if open[i].ID != want.ID || open[i].Name != want.Name {
			return fmt.Errorf("other requests: %v", open)
		}
		if want.Args == nil {
			continue
		}
		if err := compare(vm, *want.Args, open[i].Args, Revision3); err != nil {
			return err
		}
	}
	return nil
}

func (s *corpusStep) source() (string, error) {
	var source string
	switch {
	case s.Source != nil:
		source = *s.Source
	case s.SourceHex != nil:
		source = fromHex(*s.SourceHex)
	case s.SourceParts != nil:
		for _, part := range s.SourceParts {
			source += text(part)
		}
	default:
		return "", errors.New("a step that this test does not know")
	}
	return source, nil
}

// ---- the corpus' way to write values

// written is one value: exactly one field is set, beside ID.
type written struct {
	scalar   any // nil, bool or string as JSON has them; an int64 or float64
	isScalar bool

	Hex      *string
	Repeat   []json.RawMessage
	Int      *string
	Float    *string
	Array    *[]json.RawMessage
	Table    *[][2]json.RawMessage
	ID       json.RawMessage
	Ref      json.RawMessage
	Deep     int
	Function bool
	Any      bool
	Stored   json.RawMessage
}

func parse(raw json.RawMessage) written {
	var w written
	if raw[0] != '{' {
		w.isScalar = true
		must(json.Unmarshal(raw, &w.scalar))
		return w
	}
	must(json.Unmarshal(raw, &w))
	switch {
	case w.Hex != nil:
		w.scalar, w.isScalar = fromHex(*w.Hex), true
	case w.Repeat != nil:
		var part string
		var count int
		must(json.Unmarshal(w.Repeat[0], &part))
		must(json.Unmarshal(w.Repeat[1], &count))
		w.scalar, w.isScalar = strings.Repeat(part, count), true
	case w.Int != nil:
		number, err := strconv.ParseInt(*w.Int, 10, 64)
		must(err)
		w.scalar, w.isScalar = number, true
	case w.Float != nil:
		number, err := strconv.ParseFloat(*w.Float, 64)
		must(err)
		w.scalar, w.isScalar = number, true
	}
	return w
}

// must is for the form of the corpus itself, which its own tests check.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func fromHex(text string) string {
	bytes, err := hex.DecodeString(text)
	must(err)
	return string(bytes)
}

func text(raw json.RawMessage) string {
	return parse(raw).scalar.(string)
}

func (w *written) entries() [][2]json.RawMessage {
	if w.Table != nil {
		return *w.Table
	}
	var entries [][2]json.RawMessage
	if w.Array != nil {
		for i, item := range *w.Array {
			entries = append(entries, [2]json.RawMessage{json.RawMessage(fmt.Sprintf(`{"int":"%d"}`, i+1)), item})
		}
	}
	return entries
}

// values are what is written, to be sent.
func values(list []json.RawMessage) []Value {
	known := map[string]*Table{}
	var value func(raw json.RawMessage) Value
	value = func(raw json.RawMessage) Value {
		w := parse(raw)
		if w.isScalar {
			return w.scalar
		}
		if w.Ref != nil {
			return known[string(w.Ref)]
		}
		table := &Table{}
		if w.ID != nil {
			known[string(w.ID)] = table
		}
		inner := table
		for range w.Deep - 1 {
			next := &Table{}
			inner.Entries = []Entry{{int64(1), next}}
			inner = next
		}
		for _, entry := range w.entries() {
			table.Entries = append(table.Entries, Entry{value(entry[0]), value(entry[1])})
		}
		return table
	}
	result := make([]Value, len(list))
	for i, raw := range list {
		result[i] = value(raw)
	}
	return result
}

// comparison sets values that came beside expected ones.
type comparison struct {
	tables *Tables
	known  map[string]*Table   // id of the corpus -> what stood there
	stored map[External]*Table // content of external tables
}

// same compares; through says that stored tables may stand where plain ones are expected.
func (c *comparison) same(want written, got Value, through bool) bool {
	switch {
	case want.isScalar:
		if float, ok := want.scalar.(float64); ok {
			other, ok := got.(float64)
			return ok && (math.Float64bits(float) == math.Float64bits(other) || math.IsNaN(float) && math.IsNaN(other))
		}
		return want.scalar == got
	case want.Any:
		return true
	case want.Function:
		switch got.(type) {
		case Bytecode, Builtin, Handle, StoredFunction:
			return true
		}
		return false
	case want.Stored != nil:
		_, ok := got.(External)
		return ok && c.same(parse(want.Stored), got, true)
	}

	table := c.table(got, through)
	if table == nil {
		return false
	}
	if want.Ref != nil {
		return c.known[string(want.Ref)] == table
	}
	if want.ID != nil {
		c.known[string(want.ID)] = table
	}
	for range want.Deep - 1 {
		if len(table.Entries) != 1 || table.Entries[0].Key != int64(1) {
			return false
		}
		if table = c.table(table.Entries[0].Value, through); table == nil {
			return false
		}
	}
	expected := want.entries()
	if len(expected) != len(table.Entries) {
		return false
	}
	left := slices.Clone(table.Entries)
	for _, entry := range expected {
		key := parse(entry[0])
		at := slices.IndexFunc(left, func(e Entry) bool { return c.same(key, e.Key, through) })
		if at < 0 || !c.same(parse(entry[1]), left[at].Value, through) {
			return false
		}
		left = slices.Delete(left, at, at+1)
	}
	return true
}

// table is the table itself or the content of a stored one; nil when it is none.
func (c *comparison) table(got Value, through bool) *Table {
	if table, ok := got.(*Table); ok {
		return table
	}
	id, ok := got.(External)
	if !ok || !through {
		return nil
	}
	if c.stored[id] == nil {
		table := &Table{}
		c.stored[id] = table
		keys, _ := c.tables.Keys(uint32(id))
		for _, key := range keys {
			bytes, _ := c.tables.Get(uint32(id), key)
			values, err := Decode(bytes)
			if err != nil || len(values) != 1 {
				return nil
			}
			table.Entries = append(table.Entries, Entry{DecodeKey(key), values[0]})
		}
	}
	return c.stored[id]
}
