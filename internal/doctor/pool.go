package doctor

import (
	"context"
	"fmt"
	"math"

	"crayon"
	"crayon/internal/adapter"
	"crayon/internal/device"
)

// leastMove is the least effect on a probe's logits of an adapter that works,
// at weight 1.
const leastMove = 1e-3

// Pool checks every invariant of a pool: adapters that fit, are finite and do
// something, indicators of unit length that differ, and, with the path of a
// model, that it is the pool's own and each adapter moves its logits.
func Pool(ctx context.Context, p *crayon.Pool, model string, threads int) *Report {
	r := &Report{}
	r.add("file", OK, fmt.Sprintf("%s, sha256 %s", p.Name, p.Digest()), "")
	blended := p.Blended()
	r.try("members", fmt.Sprintf("%d blended, %d shared, rank %d in all", len(blended), len(p.Members)-len(blended), p.Rank()), members(p), "crayon pool train")
	r.try("indicators", fmt.Sprintf("%d of unit length, all different", len(blended)), indicators(p), "crayon pool train")
	r.try("blend", "equals the dense sum of products", exactness(p), "crayon pool train")
	if p.Keep < 1 || p.Keep > len(blended) {
		r.add("keep", Failed, fmt.Sprintf("%d of %d adapters", p.Keep, len(blended)), "crayon pool train")
	} else {
		r.add("keep", OK, fmt.Sprintf("%d of %d adapters by default", p.Keep, len(blended)), "")
	}
	if model == "" {
		r.add("model", Skipped, p.Base.Name+" is not here: what the adapters do was not tried", "crayon pull "+p.Base.Name)
		return r
	}
	d, err := device.Open(ctx, model, p, device.Options{Threads: threads})
	if !r.try("model", model, err, "crayon pull "+p.Base.Name) {
		return r
	}
	defer d.Close()
	for i, m := range p.Members {
		w := make([]float32, len(p.Members))
		w[i] = 1
		move, err := d.Effect(ctx, d.Row(w))
		if err == nil && !(move > leastMove) {
			err = fmt.Errorf("it moves the logits of a probe by %.2g: it does nothing", move)
		}
		r.try("  "+m.Name, fmt.Sprintf("moves the logits of a probe by %.3f", move), err, "crayon pool train")
	}
	return r
}

// members checks each adapter by itself.
func members(p *crayon.Pool) error {
	for i, m := range p.Members {
		w := make([]float32, len(p.Members))
		w[i] = 1
		one, weights := p.Stack.Keep(w)
		if one.Rank != m.Rank {
			return fmt.Errorf("%s: rank %d, its rows have %d", m.Name, m.Rank, one.Rank)
		}
		if err := adapter.Validate(one.Merge(weights, m.Name), p.Base.Shape); err != nil {
			return err
		}
	}
	return nil
}

func indicators(p *crayon.Pool) error {
	blended := p.Blended()
	for n, i := range blended {
		m := p.Members[i]
		var sum float64
		for _, x := range m.Indicator {
			sum += float64(x) * float64(x)
		}
		if math.Abs(sum-1) > 1e-4 {
			return fmt.Errorf("%s: its length is %.4f", m.Name, math.Sqrt(sum))
		}
		for _, j := range blended[:n] {
			var dot float64
			for k, x := range p.Members[j].Indicator {
				dot += float64(x) * float64(m.Indicator[k])
			}
			if dot > 0.9999 {
				return fmt.Errorf("%s and %s are the same", p.Members[j].Name, m.Name)
			}
		}
	}
	return nil
}

// exactness compares one merged blend with the sum of products, on one layer.
func exactness(p *crayon.Pool) error {
	w := make([]float32, len(p.Members))
	for i := range w {
		w[i] = float32(i+1) / float32(len(w))
	}
	merged := p.Stack.Merge(w, "blend")
	slot := merged.Slots()[0] // one layer tells: all are merged alike, and dense sums of all take long
	want, got := p.Stack.Dense(slot, w), merged.Dense(slot)
	var miss, whole float64
	for i := range want {
		d := float64(want[i] - got[i])
		miss, whole = miss+d*d, whole+float64(want[i])*float64(want[i])
	}
	if math.Sqrt(miss) > 1e-5*math.Sqrt(whole) {
		return fmt.Errorf("%s: the merged blend is %.2g away", slot.Tensor(), math.Sqrt(miss/whole))
	}
	return nil
}
