//go:build linux && (amd64 || arm64)

package cuda

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	nv "crayon/internal/cuda"
)

// ProfileVariable, when set, has a training print how long each kind of kernel
// took. The GPU then waits after every kernel, so that the whole is slower.
const ProfileVariable = "CRAYON_CUDA_PROFILE"

// profile is the time that kinds of work took.
type profile struct {
	last  time.Time
	kinds map[string]*kind
}

type kind struct {
	name  string
	calls int
	time  time.Duration
	flops float64
}

func newProfile() *profile { return &profile{last: time.Now(), kinds: map[string]*kind{}} }

// took waits for the stream and books the time since the last such call.
func (p *profile) took(s *nv.Stream, name string, flops float64) error {
	err := s.Wait()
	now := time.Now()
	k := p.kinds[name]
	if k == nil {
		k = &kind{name: name}
		p.kinds[name] = k
	}
	k.calls++
	k.time += now.Sub(p.last)
	k.flops += flops
	p.last = time.Now()
	return err
}

// mark begins a measurement: what came before is nobody's.
func (p *profile) mark(s *nv.Stream) error {
	if p == nil {
		return nil
	}
	err := s.Wait()
	p.last = time.Now()
	return err
}

// write prints the kinds, the longest first, over a number of rounds.
func (p *profile) write(w io.Writer, rounds int) error {
	list := slices.SortedFunc(maps.Values(p.kinds), func(a, b *kind) int { return cmp.Or(cmp.Compare(b.time, a.time), cmp.Compare(a.name, b.name)) })
	var total time.Duration
	for _, k := range list {
		total += k.time
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "kind\tms\tshare\tcalls\tus a call\tTFLOP/s\t\n")
	for _, k := range list {
		rate := ""
		if k.flops > 0 {
			rate = fmt.Sprintf("%.1f", k.flops/k.time.Seconds()/1e12)
		}
		ms := k.time.Seconds() * 1e3
		fmt.Fprintf(t, "%s\t%.3f\t%.1f%%\t%d\t%.1f\t%s\t\n", k.name, ms/float64(rounds), 100*float64(k.time)/float64(total), k.calls/rounds, 1e3*ms/float64(k.calls), rate)
	}
	fmt.Fprintf(t, "all\t%.3f\t\t\t\t\t\n", total.Seconds()*1e3/float64(rounds))
	return t.Flush()
}
