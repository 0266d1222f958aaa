// Package pool holds a pool of jointly trained base adapters with the indicators
// that tell which of them a query is like, and where it all came from, in one file.
package pool

import (
	"fmt"
	"math"
	"sync"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// Pool is a set of adapters trained together on one base model.
type Pool struct {
	Name     string
	Base     Base
	Feature  Feature
	Prompt   Prompt
	Members  []Member // in the order of the stack; shared ones have no indicator
	Stack    *adapter.Stack
	Keep     int // how many blended adapters a customisation keeps by default
	Made     Provenance
	Baseline map[string]*adapter.Adapter // rivals the benchmark needs; may be empty
	Coverage []Cover                     // where the training data lie; empty in files of before it was kept

	digest   string
	size     int
	sides    gguf.Type // of the stored sides
	path     string
	data     []byte // the file as it is stored, which the Stack reads; nil for a pool that is in none
	embedded bool
	head     string // sha256 of the head it was read from; "" for a pool with its sides
	gramOnce sync.Once
	gramOf   [][]float64
}

// Base says which model the adapters were trained on.
type Base struct {
	Name    string
	Digest  string // sha256 of the GGUF file trained on
	Lineage string // gguf.Fingerprint: equal across quantisations of one model
	Shape   arch.Config
}

// Feature says how a query becomes a vector to compare with the indicators.
type Feature struct {
	Name      string    // "q1" or "hN"
	Layer     int       // 0 for q1, else the layer whose output is taken
	Text      string    // which text: "question", without context, template or options
	MaxTokens int       // tokens of the text that count, from the left
	Mean      []float32 // training mean, subtracted
	Scale     []float32 // one over the training deviation, multiplied; nil for 1
	Tau       float32   // temperature of the softmax over similarities
}

// Prompt is the form of the prompts in training.
type Prompt struct {
	System   string // system turn, "" for none
	Template string // chat template (Jinja)
}

// Member is one adapter of the pool.
type Member struct {
	Name      string
	Rank      int
	Shared    bool      // weight 1 for everyone
	Indicator []float32 // unit length; nil when shared
	Examples  int       // training examples nearest to the indicator
	Covers    []string  // data sets most of them come from
}

// Provenance is how the pool came about.
type Provenance struct {
	Created  string // RFC 3339
	Recipe   string // YAML
	Seed     uint64
	Data     []string // data sets, with their row counts, in words
	Sets     []DataSet
	Files    []string // that the rows are from, with their digests, in words
	Licences []string // of the data
	Licence  string   // of the pool itself
	Loss     float64  // training loss at the end
	Examples int
	Steps    int
	Seconds  float64 // wall time of the training
	Workers  int
	Device   string   // what computed, in words; "" if not kept
	Program  string   // version and commit of the trainer; "" if not kept
	Limits   []string // what the pool is not for
	Changes  []string // what was done to the file since, the oldest first

	Store      string  // type of the stored sides
	StoreError float64 // of the stored products against the trained ones, relative (Frobenius); 0 if not kept
}

// Bare is the pool of a model that has none: no adapters, so no customisations.
func Bare(lineage string, c arch.Config) *Pool {
	return &Pool{Name: "none", Base: Base{Lineage: lineage, Shape: c}, Stack: &adapter.Stack{Pairs: map[arch.Slot]*adapter.Pair{}}}
}

// Digest is the sha256 of the pool's file, hex.
func (p *Pool) Digest() string { return p.digest }

// Forget gives the memory of an embedded pool's sides back to the system; what
// is needed again is read again. It is called when they are packed.
func (p *Pool) Forget() {
	if p.embedded {
		gguf.ForgetEmbedded(p.data)
	}
}

// Size is the length of the pool's file in bytes.
func (p *Pool) Size() int { return p.size }

// Path is the pool's file; "" if it came from memory.
func (p *Pool) Path() string { return p.path }

// Blended lists the indices of the members that take part in blending.
func (p *Pool) Blended() []int {
	var idx []int
	for i, m := range p.Members {
		if !m.Shared {
			idx = append(idx, i)
		}
	}
	return idx
}

// Rank is the number of stacked rows.
func (p *Pool) Rank() int { return p.Stack.Rank }

// Direction centres a raw feature and scales it to unit length.
func (p *Pool) Direction(feature []float32) ([]float32, error) {
	return Direction(feature, p.Feature.Mean, p.Feature.Scale)
}

// Direction is (feature - mean) * scale at unit length; a nil scale is 1. Equal
// deviations keep the few dimensions in which a small LLM's residual stream is
// huge from deciding every similarity.
func Direction(feature, mean, scale []float32) ([]float32, error) {
	if len(feature) != len(mean) {
		return nil, &fault.Error{Op: "feature", Err: fmt.Errorf("%d values, the pool's feature has %d", len(feature), len(mean)), Exit: fault.ExitVerify}
	}
	d := make([]float32, len(feature))
	var n float64
	for i := range d {
		d[i] = feature[i] - mean[i]
		if scale != nil {
			d[i] *= scale[i]
		}
		n += float64(d[i]) * float64(d[i])
	}
	if n = math.Sqrt(n); n < 1e-12 {
		return d, nil // the mean itself is like nothing: similarity 0 to all
	}
	for i := range d {
		d[i] = float32(float64(d[i]) / n)
	}
	return d, nil
}

// Similarity is the cosine of a direction with each blended member's indicator.
func (p *Pool) Similarity(direction []float32) []float32 {
	sim := make([]float32, 0, len(p.Members))
	for _, i := range p.Blended() {
		sim = append(sim, Cosine(direction, p.Members[i].Indicator))
	}
	return sim
}

// Cosine of two unit vectors of equal length, as Direction makes them: their
// product. (route.Cosine is that of features of any length, held within -1 to 1,
// which its thresholds need.)
func Cosine(a, b []float32) float32 {
	var s float64
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return float32(s)
}

// Weights is softmax(similarity / tau): one weight a blended member, sum 1.
func Weights(similarity []float32, tau float32) []float32 {
	top := similarity[0]
	for _, s := range similarity {
		top = max(top, s)
	}
	w := make([]float32, len(similarity))
	var sum float64
	for i, s := range similarity {
		e := math.Exp(float64(s-top) / float64(tau))
		w[i] = float32(e)
		sum += e
	}
	for i := range w {
		w[i] = float32(float64(w[i]) / sum)
	}
	return w
}

// Average is the mean of weight vectors: a user's weights from those of the examples.
func Average(w [][]float32) []float32 {
	mean := make([]float32, len(w[0]))
	for i := range mean {
		var s float64
		for _, x := range w {
			s += float64(x[i])
		}
		mean[i] = float32(s / float64(len(w)))
	}
	return mean
}

// KeepTop leaves the k largest weights, the earlier at a tie, rescaled to the
// sum the whole had, and 0 elsewhere. k <= 0 keeps all.
func KeepTop(w []float32, k int) []float32 {
	kept := make([]float32, len(w))
	if k <= 0 || k >= len(w) {
		copy(kept, w)
		return kept
	}
	var sum, all float64
	for _, x := range w {
		all += float64(x)
	}
	for n := 0; n < k; n++ {
		best := -1
		for i, x := range w {
			if kept[i] == 0 && x > 0 && (best < 0 || x > w[best]) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		kept[best] = w[best]
		sum += float64(w[best])
	}
	if sum > 0 {
		for i := range kept {
			kept[i] = float32(float64(kept[i]) * all / sum)
		}
	}
	return kept
}

// All turns blended weights into one weight a member, shared members at `shared`.
func (p *Pool) All(blended []float32, shared float32) []float32 {
	all := make([]float32, len(p.Members))
	n := 0
	for i, m := range p.Members {
		if m.Shared {
			all[i] = shared
			continue
		}
		all[i] = blended[n]
		n++
	}
	return all
}

// Check compares the pool's base with a model's. Another quantisation of the
// same model is a warning; another model is an error.
func (p *Pool) Check(digest, lineage string, c arch.Config) (warning string, err error) {
	if lineage != p.Base.Lineage {
		return "", &fault.Error{Op: "use pool", Path: p.path, Exit: fault.ExitVerify,
			Err:  fmt.Errorf("it was made for %s (lineage %.12s), not for this model (%.12s)", p.Base.Name, p.Base.Lineage, lineage),
			Hint: "crayon pull " + p.Base.Name}
	}
	b := p.Base.Shape
	if b.Layers != c.Layers || b.Dim != c.Dim || b.FF != c.FF || b.Heads != c.Heads || b.KVHeads != c.KVHeads || b.Family != c.Family {
		return "", &fault.Error{Op: "use pool", Path: p.path, Exit: fault.ExitVerify, Err: fmt.Errorf("its layers have another shape than the model's")}
	}
	if digest != p.Base.Digest {
		return fmt.Sprintf("the pool was trained on another quantisation of this model (%.12s, this is %.12s)", p.Base.Digest, digest), nil
	}
	return "", nil
}

// Distance is how far the blend with weights b is from that with weights a,
// relative to a's size (Frobenius norms of the products over all layers; the
// shared adapters count at weight 1 in both). It uses norms and cross products
// of the members computed once.
func (p *Pool) Distance(a, b []float32) float64 {
	g := p.gram()
	wa, wb := p.All(a, 1), p.All(b, 1)
	diff := make([]float32, len(wa))
	for i := range diff {
		diff[i] = wa[i] - wb[i]
	}
	size := quadratic(g, wa)
	if size <= 0 {
		return 0
	}
	return math.Sqrt(max(0, quadratic(g, diff)) / size)
}

func quadratic(g [][]float64, w []float32) float64 {
	var s float64
	for i := range w {
		for j := range w {
			s += float64(w[i]) * float64(w[j]) * g[i][j]
		}
	}
	return s
}

// gram holds the inner products of the members' dense products, summed over
// layers: <B_i A_i, B_j A_j> = sum over rows r of i, s of j of (a_r . a_s)(b_r . b_s).
func (p *Pool) gram() [][]float64 {
	p.gramOnce.Do(func() {
		n := len(p.Members)
		p.gramOf = make([][]float64, n)
		for i := range p.gramOf {
			p.gramOf[i] = make([]float64, n)
		}
		for s := range arch.Slot(p.Base.Shape.Slots()) { // in order: sums have the same bits each time
			pair := p.Stack.Pair(s)
			if pair == nil {
				continue
			}
			r := pair.Rank
			aa, bb := sideGrams(pair)
			for x := 0; x < r; x++ {
				for y := 0; y < r; y++ {
					p.gramOf[p.Stack.Owner[x]][p.Stack.Owner[y]] += float64(aa[x*r+y]) * float64(bb[x*r+y])
				}
			}
		}
	})
	return p.gramOf
}
