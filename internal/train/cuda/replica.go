//go:build linux && (amd64 || arm64)

package cuda

import (
	"embed"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"crayon/internal/arch"
	nv "crayon/internal/cuda"
	"crayon/internal/fault"
)

//go:embed kernels/*.cu
var sources embed.FS

// source is the kernels' source: common.cu before what uses it.
func source() string {
	var b strings.Builder
	for _, name := range []string{"common", "rows", "attention", "head", "optimiser"} {
		text, _ := sources.ReadFile("kernels/" + name + ".cu") // embedded
		b.Write(text)
	}
	return b.String()
}

var kernels = []string{
	"embed", "add_norm", "pick_norm", "norm_grad", "head_grad", "weigh", "rotate", "activate", "activate_grad", "mean_rows",
	"attend", "attend_dot", "attend_dq", "attend_dkv", "row_lse", "target_logprob", "losses", "tally", "logit_grad",
	"squares", "root", "adamw", "lay_floats", "lay_bf16",
}

// replica is one GPU with the model on it. All that touches it runs on its own
// goroutine, which is locked to a thread.
type replica struct {
	config arch.Config
	device *nv.Device
	stream *nv.Stream
	blas   *nv.Blas
	module *nv.Module
	kernel map[string]*nv.Function
	comm   *nv.Comm // nil where it is alone
	rank   int      // among all devices of all processes
	world  int
	base   weights
	times  *profile // nil: not measured

	cos, sin  nv.Ptr // positions x HeadDim/2
	positions int

	bound  *binding // of the last stack scored
	digest uint64   // of that stack
	pass   *pass    // of the last call that scored
	firstQ nv.Ptr   // the first layer's q, float32
	jobs   chan func()
	done   chan struct{}
	taken  map[nv.Ptr]bool // memory to give back
	bytes  uint64
	arena  *arena
	pinned [][]byte
}

// start opens GPU number n for the shape c on a goroutine of its own.
func start(d *nv.Driver, n int, c arch.Config) (*replica, error) {
	if err := suits(c); err != nil {
		return nil, err
	}
	r := &replica{config: c, world: 1, jobs: make(chan func()), done: make(chan struct{}), taken: map[nv.Ptr]bool{}}
	go func() {
		defer close(r.done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		for f := range r.jobs {
			f()
		}
	}()
	if err := r.do(func() error { return r.open(d, n) }); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// suits refuses shapes that the kernels are not written for.
func suits(c arch.Config) error {
	var why string
	switch {
	case c.Dim%8 != 0 || c.FF%8 != 0:
		why = fmt.Sprintf("the residual has %d values and the feed-forward layer %d; both must be multiples of 8", c.Dim, c.FF)
	case c.HeadDim%16 != 0 || c.HeadDim > 128:
		why = fmt.Sprintf("a head has %d values; it must be a multiple of 16, at most 128", c.HeadDim)
	case c.Heads%c.KVHeads != 0 || c.Heads/c.KVHeads > tileRows:
		why = fmt.Sprintf("%d query heads on %d key heads", c.Heads, c.KVHeads)
	default:
		return nil
	}
	return &fault.Error{Op: "train on the GPU", Err: errors.New(why), Hint: "train with --device cpu"}
}

// do runs f on the replica's thread.
func (r *replica) do(f func() error) error {
	var err error
	ended := make(chan struct{})
	r.jobs <- func() {
		defer close(ended)
		err = f()
	}
	<-ended
	return err
}

func (r *replica) open(d *nv.Driver, n int) error {
	var err error
	if r.device, err = d.Open(n); err != nil {
		return err
	}
	if r.stream, err = r.device.Stream(); err != nil {
		return err
	}
	if r.blas, err = r.device.Blas(r.stream); err != nil {
		return err
	}
	r.module, err = r.device.Compile("crayon.cu", source(), defines(r.config)...)
	if err != nil {
		return err
	}
	r.kernel = make(map[string]*nv.Function)
	for _, name := range kernels {
		if r.kernel[name], err = r.module.Function(name); err != nil {
			return err
		}
	}
	return nil
}

// defines are the compiler's options for a shape.
func defines(c arch.Config) []string {
	halves := 0
	if c.RopeHalves {
		halves = 1
	}
	define := func(name string, value int) string { return "-D" + name + "=" + strconv.Itoa(value) }
	return []string{
		define("DIM", c.Dim), define("FF", c.FF), define("HEADS", c.Heads), define("KV", c.KVHeads), define("HD", c.HeadDim),
		define("VOCAB", c.Vocab), define("HALVES", halves), "-DEPS=" + strconv.FormatFloat(float64(c.Eps), 'e', 9, 32) + "f",
	}
}

// Close gives the GPU back.
func (r *replica) Close() error {
	err := r.do(func() error {
		var errs []error
		if r.stream != nil {
			errs = append(errs, r.stream.Wait())
		}
		if r.comm != nil {
			errs = append(errs, r.comm.Close())
		}
		for p := range r.taken {
			errs = append(errs, r.device.Free(p))
		}
		for _, b := range r.pinned {
			errs = append(errs, r.device.FreePinned(b))
		}
		if r.blas != nil {
			errs = append(errs, r.blas.Close())
		}
		if r.module != nil {
			errs = append(errs, r.module.Close())
		}
		if r.stream != nil {
			errs = append(errs, r.stream.Close())
		}
		if r.device != nil {
			errs = append(errs, r.device.Close())
		}
		return errors.Join(errs...)
	})
	close(r.jobs)
	<-r.done
	return err
}

// take takes memory of the device, for n values of a size.
func (r *replica) take(n, size int) (nv.Ptr, error) {
	p, err := r.device.Alloc(uint64(n) * uint64(size))
	if err == nil && p != 0 {
		r.taken[p] = true
		r.bytes += uint64(n) * uint64(size)
	}
	return p, err
}

// give gives memory back at once.
func (r *replica) give(p nv.Ptr) error {
	if p == 0 {
		return nil
	}
	delete(r.taken, p)
	return r.device.Free(p)
}

// upload takes memory for x and copies it there.
func upload[T any](r *replica, x []T, size int) (nv.Ptr, error) {
	p, err := r.take(len(x), size)
	if err != nil {
		return 0, err
	}
	return p, nv.Upload(r.stream, p, x)
}

// launch runs a kernel with one thread (or, where a row is a warp's, 32) a
// piece of work, on blocks of 256.
func (r *replica) launch(name string, threads int, args ...any) error {
	if threads == 0 {
		return nil
	}
	return r.grid(name, [3]uint32{uint32((threads + 255) / 256), 1, 1}, 256, args...)
}

func (r *replica) grid(name string, grid [3]uint32, block uint32, args ...any) error {
	if grid[0] == 0 {
		return nil
	}
	err := r.stream.Launch(r.kernel[name], grid, [3]uint32{block, 1, 1}, 0, args...)
	if err == nil && r.times != nil {
		err = r.times.took(r.stream, name, 0)
	}
	return err
}

// gemm multiplies; kind names the product in a profile.
func (r *replica) gemm(kind string, g nv.Gemm) error {
	if g.M == 0 || g.N == 0 || g.K == 0 {
		return nil
	}
	err := r.blas.Gemm(g)
	if err == nil && r.times != nil {
		err = r.times.took(r.stream, "product "+kind, 2*float64(g.M)*float64(g.N)*float64(g.K))
	}
	return err
}

// at is a place n values of a size after p.
func at(p nv.Ptr, n, size int) nv.Ptr { return p + nv.Ptr(n*size) }

// bytes of a value
const (
	two  = 2 // bfloat16
	four = 4 // float32, int32
)
