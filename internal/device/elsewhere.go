package device

import (
	"context"
	"fmt"
	"strings"

	"crayon/internal/adapter"
	"crayon/internal/fault"
	"crayon/internal/pool"
)

// Blend is one adapter that members of a pool were blended into where the pool
// is: their rows in the order of the members, each times its weight.
type Blend struct {
	Members []float32 // the weights that are in it, one a member; 0: the member is not in it
	Adapter *adapter.Adapter
}

// Stack takes the blend apart by the pool's members again: with the weights
// that share gives, it is what the pool's own stack is with the members'.
func (b *Blend) Stack(p *pool.Pool) (*adapter.Stack, error) {
	fail := func(format string, args ...any) (*adapter.Stack, error) {
		return nil, &fault.Error{Op: "take blend apart", Path: b.Adapter.Name, Err: fmt.Errorf(format, args...), Exit: fault.ExitVerify, Hint: "crayon customize NAME -f EXAMPLES --pool-url URL"}
	}
	if len(b.Members) != len(p.Members) {
		return fail("%d weights, the pool has %d members", len(b.Members), len(p.Members))
	}
	var owner []int
	for i, m := range p.Members {
		if b.Members[i] == 0 {
			continue
		}
		for range m.Rank {
			owner = append(owner, i)
		}
	}
	s := &adapter.Stack{Adapters: len(p.Members), Rank: len(owner), Pairs: b.Adapter.Pairs, Owner: owner}
	for slot, pair := range b.Adapter.Pairs {
		if pair.Rank != s.Rank {
			return fail("%s has the rank %d, the members in it have %d", slot.Tensor(), pair.Rank, s.Rank)
		}
	}
	return s, nil
}

// Share is one weight a member over a Blend's Stack for one a member of the pool.
func (b *Blend) Share(p *pool.Pool, members []float32) ([]float32, error) {
	out := make([]float32, len(members))
	for i, w := range members {
		switch {
		case w == 0:
		case i >= len(b.Members) || b.Members[i] == 0:
			return nil, &fault.Error{Op: "weigh blend", Path: p.Members[i].Name, Exit: fault.ExitUsage,
				Err: fmt.Errorf("it is not in the blend that the pool's server gave, which has %s", b.names(p)), Hint: "crayon customize NAME -f EXAMPLES --pool-url URL"}
		default:
			out[i] = w / b.Members[i]
		}
	}
	return out, nil
}

func (b *Blend) names(p *pool.Pool) string {
	var in []string
	for i, m := range p.Members {
		if i < len(b.Members) && b.Members[i] != 0 {
			in = append(in, m.Name)
		}
	}
	return strings.Join(in, ", ")
}

// Under is the same open model with a pool whose sides are elsewhere, but for a
// blend of them (nil: none yet): with that pool's features and prompt form.
// Everything else is shared, and the device it is made from is the one to close.
func (d *Device) Under(p *pool.Pool, b *Blend) (*Device, error) {
	if d.Adapter != "" {
		return nil, &fault.Error{Op: "use pool", Path: p.Name, Exit: fault.ExitUsage, Err: fmt.Errorf("the adapter %s answers here, in place of a pool", d.Adapter), Hint: "leave out --adapter"}
	}
	under := *d
	under.Pool, under.elsewhere, under.Warning = p, &elsewhere{}, ""
	var err error
	if _, err = p.Check(p.Base.Digest, d.Lineage, d.Model.Config); err != nil {
		return nil, err
	}
	if under.Form, err = NewForm(d.Tokenizer, p.Prompt); err != nil {
		return nil, err
	}
	if b == nil {
		return &under, nil
	}
	if r := b.Adapter.Rank(); r > MostRank {
		return nil, &fault.Error{Op: "use blend", Path: b.Adapter.Name, Exit: fault.ExitVerify, Err: fmt.Errorf("its rank is %d; 1 to %d are possible", r, MostRank)}
	}
	stack, err := b.Stack(p)
	if err != nil {
		return nil, err
	}
	under.elsewhere = &elsewhere{blend: b, stack: stack}
	return &under, nil
}

// elsewhere is what a device has of a pool whose sides are on a server.
type elsewhere struct {
	blend *Blend // nil: nothing yet
	stack *adapter.Stack
}

// Elsewhere says whether the pool's sides are on a server: then the device was
// made by Under.
func (d *Device) Elsewhere() bool { return d.elsewhere != nil }

// Held is a device ready to answer under any weights of the pool's members, a
// private adapter beside them.
type Held struct {
	d        *Device
	attached *Attached // nil: nothing is beside the pool
}

// Hold readies the device for weights with a private adapter beside, nil for
// none. It may wait for a place beside the pool; Release it after use.
func (d *Device) Hold(ctx context.Context, private *adapter.Adapter) (*Held, error) {
	beside := private
	if e := d.elsewhere; e != nil {
		if private != nil {
			return nil, &fault.Error{Op: "attach adapter", Path: private.Name, Exit: fault.ExitUsage, Err: fmt.Errorf("beside the blend of a pool on a server there is no room for a private adapter"), Hint: "train it beside a pool that is here: crayon --pool FILE customize NAME -f EXAMPLES"}
		}
		if e.blend != nil {
			beside = e.blend.Adapter
		}
	}
	if beside == nil {
		return &Held{d: d}, nil
	}
	x, err := d.Attach(ctx, beside)
	if err != nil {
		return nil, err
	}
	return &Held{d, x}, nil
}

// Row is one weight a stacked row for one weight a pool member; nil without a
// private adapter is the base model.
func (h *Held) Row(members []float32) ([]float32, error) {
	e := h.d.elsewhere
	switch {
	case e == nil && h.attached == nil:
		return h.d.Row(members), nil
	case e == nil:
		return h.attached.Row(members), nil
	case members == nil:
		return nil, nil
	case e.blend == nil:
		return nil, &fault.Error{Op: "weigh blend", Path: h.d.Pool.Name, Err: fmt.Errorf("the pool's sides are on a server, and no blend of them is here"), Exit: fault.ExitUsage}
	}
	share, err := e.blend.Share(h.d.Pool, members)
	if err != nil {
		return nil, err
	}
	return h.attached.row(nil, e.stack.RowWeights(share)), nil
}

// Release lets the place beside the pool go to another adapter.
func (h *Held) Release() {
	if h != nil && h.attached != nil {
		h.attached.Release()
	}
}
