package rights

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Outside is memory beside Go's heap: all that a child needs of its plan. So the heap need not be copied for the child
// (see job.fork): most of a fork's cost is copying it, and undoing that when the program runs. And whatever secrets
// root's heap holds, the tenant's process never has them.
type outside struct {
	chunks [][]byte
	used   int // of the last one
}

// chunkSize is enough for one usual child.
const chunkSize = 64 << 10

// room returns size bytes, as zeros.
func (o *outside) room(size int) (unsafe.Pointer, error) {
	size = max(size+15, 16) &^ 15
	if len(o.chunks) == 0 || o.used+size > len(o.chunks[len(o.chunks)-1]) {
		chunk, err := unix.Mmap(-1, 0, max(chunkSize, (size+4095)&^4095), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return nil, fmt.Errorf("cannot get memory for the new process: %w", err)
		}
		o.chunks, o.used = append(o.chunks, chunk), 0
	}
	at := unsafe.Pointer(&o.chunks[len(o.chunks)-1][o.used])
	o.used += size
	return at, nil
}

// within tells whether some of it lies between two addresses. Where the kernel does not give Go's heap the address that it
// asks for (address spaces of 39 bits, on some arm64), the heap lies among all other memory.
func (o *outside) within(from, to uintptr) bool {
	return slices.ContainsFunc(o.chunks, func(chunk []byte) bool {
		begin := uintptr(unsafe.Pointer(unsafe.SliceData(chunk)))
		return begin < to && begin+uintptr(len(chunk)) > from
	})
}

func (o *outside) free() {
	for _, chunk := range o.chunks {
		_ = unix.Munmap(chunk)
	}
	o.chunks = nil
}

// A number is what may be outside: nothing that the garbage collector would have to follow.
type number interface {
	~uint8 | ~uint32 | ~uint64 | ~uintptr
}

// moved copies values outside. Where there is no memory, the plan fails in the end.
func moved[T number](p *plan, s []T) []T {
	at, err := p.room(len(s) * int(unsafe.Sizeof(T(0))))
	if err != nil {
		p.failed = err
		return s
	}
	to := unsafe.Slice((*T)(at), max(len(s), 1))[:len(s)]
	copy(to, s)
	return to
}

// held copies values outside and returns their address.
func held[T number](p *plan, s []T) uintptr { return at(moved(p, s)) }

// at returns the address of values that are outside.
func at[T number](s []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }

// place copies one value outside.
func place[T any](p *plan, v T) *T {
	at, err := p.room(int(unsafe.Sizeof(v)))
	if err != nil {
		p.failed = err
		return &v
	}
	to := (*T)(at)
	*to = v
	return to
}

// heapSpan is how much address space a heap is looked for in: Go's runtime takes it in arenas of 64 MiB, one behind the
// other.
const heapSpan = 1 << 30

// heapOf returns the beginning of the address space around a piece of Go's heap.
func heapOf(p unsafe.Pointer) uintptr { return uintptr(p) &^ (64<<20 - 1) }
