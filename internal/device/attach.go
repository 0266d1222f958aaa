package device

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"crayon/internal/adapter"
	"crayon/internal/fault"
	"crayon/internal/model"
)

// The bounds of private adapters: how many sit beside the pool at a time, and
// the rank of one. Each place is as wide as the greatest rank, so that none
// moves when another comes.
const (
	MostAttached = 4
	MostRank     = 32
)

// beside holds private adapters next to the pool's stack. A place whose adapter
// nobody uses keeps it until another one needs the place.
type beside struct {
	first *adapter.Stack // the pool's, or the one adapter's

	mu     sync.Mutex
	places []private
	clock  int64
	freed  chan struct{} // closed when a place gets free; nil: nobody waits
}

// private is one place.
type private struct {
	pair   *adapter.Pair  // the adapter's first, which tells it from others
	stack  *adapter.Stack // nil: not packed yet
	users  int
	used   int64 // clock of the last use
	before bool  // another adapter was here
}

// Attached is a private adapter in use beside the pool.
type Attached struct {
	d     *Device
	place int
	rank  int
	scale float32
	once  sync.Once
}

// Attach puts a private adapter beside the pool, where its rows of weights work
// in the same passes as everyone's. It waits while all places are in use. The
// same adapter again, at any Scale, takes no place of its own; its matrices are
// not to change. Release it after use.
func (d *Device) Attach(ctx context.Context, a *adapter.Adapter) (*Attached, error) {
	if d.Adapter != "" {
		return nil, &fault.Error{Op: "attach adapter", Path: a.Name, Exit: fault.ExitUsage, Err: fmt.Errorf("the adapter %s answers here, in place of a pool", d.Adapter)}
	}
	if r := a.Rank(); r < 1 || r > MostRank {
		return nil, &fault.Error{Op: "attach adapter", Path: a.Name, Exit: fault.ExitVerify, Err: fmt.Errorf("its rank is %d; 1 to %d are possible", r, MostRank)}
	}
	x := &Attached{d: d, rank: a.Rank(), scale: a.Scale}
	for {
		i, wait := d.beside.take(a)
		if i >= 0 {
			x.place = i
			break
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := d.fill(ctx, x.place, a); err != nil {
		x.Release()
		return nil, err
	}
	return x, nil
}

// take finds the adapter's place, or one for it; -1 and what tells of a change
// if all are in use.
func (b *beside) take(a *adapter.Adapter) (place int, wait <-chan struct{}) {
	first := a.Pairs[a.Slots()[0]]
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.IndexFunc(b.places, func(p private) bool { return p.pair == first })
	if at < 0 && len(b.places) < MostAttached {
		at = len(b.places)
		b.places = append(b.places, private{pair: first})
	}
	if at < 0 {
		for i, p := range b.places {
			if p.users == 0 && (at < 0 || p.used < b.places[at].used) {
				at = i
			}
		}
		if at < 0 {
			if b.freed == nil {
				b.freed = make(chan struct{})
			}
			return -1, b.freed
		}
		b.places[at] = private{pair: first, before: true}
	}
	b.clock++
	b.places[at].users++
	b.places[at].used = b.clock
	return at, nil
}

// fill packs the adapter into its place, unless it is there.
func (d *Device) fill(ctx context.Context, place int, a *adapter.Adapter) error {
	return d.batch.exclusive(ctx, func() error {
		b := d.beside
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.places[place].stack != nil {
			return nil
		}
		plain := *a
		plain.Scale = 1 // rows of weights carry it
		stack, err := adapter.NewStack([]*adapter.Adapter{&plain})
		if err != nil {
			return err
		}
		further := make([]*adapter.Stack, len(b.places))
		for i, p := range b.places {
			switch {
			case i == place:
				further[i] = stack
			case p.stack != nil:
				further[i] = p.stack
			default: // somebody waits to pack it
				further[i] = &adapter.Stack{Rank: MostRank}
			}
		}
		side, err := d.Model.NewSide(b.first, further...)
		if err != nil {
			return err
		}
		if b.places[place].before {
			from := d.start(place)
			d.prefixes.dropLong(from, from+MostRank)
		}
		b.places[place].stack = stack
		d.side.Store(side)
		return nil
	})
}

// start is the stacked row at which a place begins.
func (d *Device) start(place int) int {
	return model.Padded(d.beside.first.Rank) + place*model.Padded(MostRank)
}

// Row is one weight a stacked row for one weight a pool member, nil for none of
// them, and the private adapter beside.
func (x *Attached) Row(members []float32) []float32 {
	own := make([]float32, x.rank)
	for i := range own {
		own[i] = x.scale
	}
	return x.row(x.d.Row(members), own)
}

// row is a row of the pool's weights and one of the adapter's own.
func (x *Attached) row(pool, own []float32) []float32 {
	start := x.d.start(x.place)
	row := make([]float32, start+x.rank)
	copy(row, pool)
	copy(row[start:], own)
	return row
}

// Release lets the place go to another adapter. Rows are not to be used after.
func (x *Attached) Release() {
	x.once.Do(func() {
		b := x.d.beside
		b.mu.Lock()
		defer b.mu.Unlock()
		p := &b.places[x.place]
		p.users--
		if p.users == 0 && b.freed != nil {
			close(b.freed)
			b.freed = nil
		}
	})
}
