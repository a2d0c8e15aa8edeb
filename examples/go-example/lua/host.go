package lua

import (
	"context"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// host is what the five functions that lua.wasm imports work on. One set of functions serves all VMs of a Module, so the
// VM that calls says in the context whose host is meant.
//
// Every number that arrives in the functions was chosen by the guest and is not to be trusted: wazero's Memory checks each
// pointer and length against the memory's size of that moment, and what does not fit gives -1. A view of the memory is
// never kept, because the guest changes it and its growth moves it.
type host struct {
	tables   *Tables
	revision Revision
	requests requests
}

const failure = -1

type hostKey struct{}

// with makes h the host of the calls that are made with the context.
func (h *host) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, hostKey{}, h)
}

// hostOf is the host of the running call. Without one there are no tables, and each function fails.
func hostOf(ctx context.Context) *host {
	if h, ok := ctx.Value(hostKey{}).(*host); ok {
		return h
	}
	return &host{tables: NewTables(), revision: Revision1}
}

// instantiateHost makes the functions known to the runtime as the module "env".
func instantiateHost(ctx context.Context, runtime wazero.Runtime) error {
	_, err := runtime.NewHostModuleBuilder("env").
		NewFunctionBuilder().WithFunc(tableSet).Export("js_ext_table_set").
		NewFunctionBuilder().WithFunc(tableGet).Export("js_ext_table_get").
		NewFunctionBuilder().WithFunc(tableDelete).Export("js_ext_table_delete").
		NewFunctionBuilder().WithFunc(tableSize).Export("js_ext_table_size").
		NewFunctionBuilder().WithFunc(tableKeys).Export("js_ext_table_keys").
		Instantiate(ctx)
	return err
}

func tableSet(ctx context.Context, guest api.Module, id, keyPtr, keyLen, valuePtr, valueLen uint32) int32 {
	key, ok := readKey(guest, keyPtr, keyLen)
	if !ok || id == 0 {
		return failure
	}
	value, ok := guest.Memory().Read(valuePtr, valueLen)
	if !ok {
		return failure
	}
	hostOf(ctx).tables.Set(id, key, value)
	return 0
}

func tableGet(ctx context.Context, guest api.Module, id, keyPtr, keyLen, valuePtr, maxLen uint32) int32 {
	if id == 0 {
		return hostOf(ctx).channel(guest, keyPtr, keyLen, valuePtr, maxLen)
	}
	key, ok := readKey(guest, keyPtr, keyLen)
	if !ok {
		return failure
	}
	value, ok := hostOf(ctx).tables.Get(id, key)
	if !ok {
		return failure
	}
	return hostOf(ctx).answer(guest, valuePtr, maxLen, value)
}

func tableDelete(ctx context.Context, guest api.Module, id, keyPtr, keyLen uint32) int32 {
	key, ok := readKey(guest, keyPtr, keyLen)
	if !ok || !hostOf(ctx).tables.Delete(id, key) {
		return failure
	}
	return 0
}

func tableSize(ctx context.Context, id uint32) int32 {
	return int32(min(hostOf(ctx).tables.Size(id), math.MaxInt32))
}

func tableKeys(ctx context.Context, guest api.Module, id, bufferPtr, maxLen uint32) int32 {
	keys, ok := hostOf(ctx).tables.Keys(id)
	if !ok {
		return failure
	}
	return hostOf(ctx).answer(guest, bufferPtr, maxLen, []byte(strings.Join(keys, "\n")))
}

// readKey copies a key. Keys are UTF-8; what is not is no key.
func readKey(guest api.Module, ptr, length uint32) (string, bool) {
	bytes, ok := guest.Memory().Read(ptr, length)
	if !ok || !utf8.Valid(bytes) {
		return "", false
	}
	return string(bytes), true
}

// channel takes what the guest asks of the host itself, which begins with revision 3 here.
func (h *host) channel(guest api.Module, ptr, length, answerPtr, maxLen uint32) int32 {
	request, ok := guest.Memory().Read(ptr, length)
	if !ok || h.revision < Revision3 {
		return failure
	}
	said := h.requests.handle(request)
	if said == nil {
		return failure
	}
	return h.answer(guest, answerPtr, maxLen, said)
}

// answer copies an answer into the guest's buffer. Revision 2 tells how much room it takes.
func (h *host) answer(guest api.Module, ptr, maxLen uint32, answer []byte) int32 {
	room, ok := guest.Memory().Read(ptr, maxLen) // a view: writing to it writes to the guest's memory
	if !ok || len(answer) > math.MaxInt32 {
		return failure
	}
	if len(answer) > len(room) {
		if h.revision >= Revision2 {
			return -int32(len(answer)) - 1
		}
		return failure
	}
	copy(room, answer)
	return int32(len(answer))
}
