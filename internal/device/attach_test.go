package device_test

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/testmodel/tinydevice"
)

// private is a random adapter of a rank on the model's last layer and one more.
func private(seed uint64, rank int) *adapter.Adapter {
	rng := rand.New(rand.NewPCG(seed, 1))
	a := &adapter.Adapter{Name: "private", Scale: 1, Pairs: map[arch.Slot]*adapter.Pair{}}
	for _, slot := range []arch.Slot{arch.SlotOf(1, arch.Q), arch.SlotOf(1, arch.Down), arch.SlotOf(0, arch.V)} {
		out, in := tiny.Config.Shape(slot.Kind())
		p := &adapter.Pair{Rank: rank, In: in, Out: out, A: make([]float32, rank*in), B: make([]float32, out*rank)}
		for i := range p.A {
			p.A[i] = float32(rng.NormFloat64() / math.Sqrt(float64(in)))
		}
		for i := range p.B {
			p.B[i] = float32(rng.NormFloat64() / 2)
		}
		a.Pairs[slot] = p
	}
	return a
}

func totals(t *testing.T, d *device.Device, rows ...[]float32) [][]device.Total {
	t.Helper()
	prompt, err := d.Form.Prompt("why does the wheel wobble, and what of it")
	require.NoError(t, err)
	qs := make([]device.Question, len(rows))
	for i, row := range rows {
		qs[i] = device.Question{Prompt: prompt, Choices: []string{"yes", "no", "a longer answer"}, Row: row}
	}
	out, err := d.Totals(t.Context(), qs)
	require.NoError(t, err)
	return out
}

// A private adapter beside the pool is what it would be as a member of it, up
// to the 8 bits of the side path, and the pool's own rows keep their bits.
func TestAttachedIsAMember(t *testing.T) {
	d := tinydevice.Open(t)
	members := []float32{0.5, 0.2, 0.3, 1}
	before := totals(t, d, nil, d.Row(members))
	a := private(1, 3)
	x, err := d.Attach(t.Context(), a)
	require.NoError(t, err)
	defer x.Release()
	after := totals(t, d, nil, d.Row(members), x.Row(members), x.Row(nil))
	require.Equal(t, before, after[:2])

	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	merged, err := adapter.NewStack([]*adapter.Adapter{p.Stack.Merge(members, "blend"), a})
	require.NoError(t, err)
	whole := merged.Merge([]float32{1, 1}, "whole")
	dir := t.TempDir()
	require.NoError(t, adapter.WritePEFT(dir, whole, tiny.Config, "tiny"))
	alone, err := device.Open(t.Context(), modelPath, nil, device.Options{Adapter: dir})
	require.NoError(t, err)
	defer alone.Close()
	alone.Form = d.Form
	want := totals(t, alone, nil)[0]
	var moved float64
	for j := range want {
		require.InDelta(t, want[j].Sum, after[2][j].Sum, 1)
		moved += math.Abs(after[1][j].Sum - after[2][j].Sum)
		require.NotEqual(t, after[0][j], after[3][j])
	}
	require.Greater(t, moved, 5.0, "it does something")

	// Its Scale is in the row; 0 is none of it.
	weak := *a
	weak.Scale = 0
	y, err := d.Attach(t.Context(), &weak)
	require.NoError(t, err)
	defer y.Release()
	require.Equal(t, before[1], totals(t, d, y.Row(members))[0])
}

// Places are used again, and what comes in does not change what others hold.
func TestAttachInTurn(t *testing.T) {
	d := tinydevice.Open(t)
	var want [][]device.Total
	for i := range uint64(2 * device.MostAttached) {
		x, err := d.Attach(t.Context(), private(i, 2))
		require.NoError(t, err)
		want = append(want, totals(t, d, x.Row(nil))[0])
		x.Release()
		x.Release()
	}
	packed := func() int {
		side, err := d.Side(t.Context())
		require.NoError(t, err)
		return side.Bytes()
	}
	bytes := packed()
	for i := range uint64(2 * device.MostAttached) {
		x, err := d.Attach(t.Context(), private(i, 2))
		require.NoError(t, err)
		require.Equal(t, want[i], totals(t, d, x.Row(nil))[0])
		x.Release()
	}
	require.Equal(t, bytes, packed(), "bounded")
}

func TestAttachWaitsForAPlace(t *testing.T) {
	d := tinydevice.Open(t)
	var held []*device.Attached
	for i := range uint64(device.MostAttached) {
		x, err := d.Attach(t.Context(), private(i, 1))
		require.NoError(t, err)
		held = append(held, x)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := d.Attach(ctx, private(9, 1))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() {
		x, err := d.Attach(t.Context(), private(9, 1))
		if err == nil {
			x.Release()
		}
		done <- err
	}()
	held[2].Release()
	require.NoError(t, <-done)
}

// Answers under private adapters, asked at once, are as they are alone; the
// prefix cache does not take one for another.
func TestAttachAtOnce(t *testing.T) {
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	d, err := device.Open(t.Context(), modelPath, p, device.Options{Threads: 2, PrefixCache: 1 << 20})
	require.NoError(t, err)
	defer d.Close()
	prompt, err := d.Form.Prompt("why does the wheel wobble when the road is wet and long and nobody knows")
	require.NoError(t, err)
	adapters := make([]*adapter.Adapter, device.MostAttached+2)
	for i := range adapters {
		adapters[i] = private(uint64(i), 2)
	}
	ask := func(a *adapter.Adapter) ([]float64, error) {
		x, err := d.Attach(t.Context(), a)
		if err != nil {
			return nil, err
		}
		defer x.Release()
		c, err := d.Choose(t.Context(), device.Question{Prompt: prompt, Choices: []string{"yes", "no"}, Row: x.Row([]float32{1, 0, 0, 1})})
		return c.Scores, err
	}
	var want [][]float64
	for _, a := range adapters {
		s, err := ask(a)
		require.NoError(t, err)
		want = append(want, s)
	}
	var all sync.WaitGroup
	for range 3 {
		for i, a := range adapters {
			all.Go(func() {
				s, err := ask(a)
				if err != nil {
					t.Error(err)
					return
				}
				for j := range s {
					if math.Abs(s[j]-want[i][j]) > 1e-4 {
						t.Errorf("adapter %d: %v, alone %v", i, s, want[i])
					}
				}
			})
		}
	}
	all.Wait()
}

func TestAttachRefuses(t *testing.T) {
	d := tinydevice.Open(t)
	_, err := d.Attach(t.Context(), &adapter.Adapter{Scale: 1})
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	_, err = d.Attach(t.Context(), private(1, device.MostRank+1))
	require.Error(t, err)
	wrong := private(1, 2)
	for _, p := range wrong.Pairs {
		p.In, p.A = p.In-1, p.A[2:]
	}
	_, err = d.Attach(t.Context(), wrong)
	require.Error(t, err)
	x, err := d.Attach(t.Context(), private(2, 2))
	require.NoError(t, err, "the place is not lost")
	x.Release()
}
