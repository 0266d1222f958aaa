package pool

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Health is what can be said of a pool's adapters without running the model.
// All norms and cosines are of the products B A over all layers, exact through
// the small products of the sides: <B1 A1, B2 A2> = tr((A1 A2')(B2' B1)).
type Health struct {
	Members    []MemberHealth `json:"members"`    // in the pool's order
	Cosine     [][]float64    `json:"cosine"`     // of each pair of members, -1 to 1
	Redundancy float64        `json:"redundancy"` // largest absolute cosine of two blended members
	Alike      [2]string      `json:"alike"`      // the two it is of
	Blended    int            `json:"blended"`
	Effective  float64        `json:"effective_adapters"` // participation ratio of the blended members' cosines: 1 to Blended
	Shared     float64        `json:"shared_to_blended"`  // norm of the shared members over the mean of the blended ones'
	Dead       []string       `json:"dead,omitempty"`
}

// MemberHealth is one adapter's.
type MemberHealth struct {
	Name          string  `json:"name"`
	Shared        bool    `json:"shared,omitempty"`
	Norm          float64 `json:"norm"`           // Frobenius norm of B A over all layers
	Share         float64 `json:"share"`          // of the mean norm of its kind (blended or shared)
	Examples      int     `json:"examples"`       // training examples nearest to its indicator
	Rank          int     `json:"rank"`           //
	EffectiveRank float64 `json:"effective_rank"` // exp of the entropy of the singular values of B A, mean over layers by squared norm
	Nearest       float64 `json:"nearest"`        // largest cosine of its indicator with another's; 0 when shared
	Dead          string  `json:"dead,omitempty"` // why it counts as dead
}

// LeastShare is the share of the mean norm below which a blended adapter counts
// as dead: training has hardly moved it from nothing.
const LeastShare = 0.05

// Health measures the pool.
func (p *Pool) Health() (*Health, error) {
	g := p.gram()
	n := len(p.Members)
	h := &Health{Members: make([]MemberHealth, n), Cosine: make([][]float64, n)}
	ranks, err := p.effectiveRanks()
	if err != nil {
		return nil, &fault.Error{Op: "pool health", Path: p.path, Err: err}
	}
	sum, count := map[bool]float64{}, map[bool]int{}
	for i, m := range p.Members {
		norm := math.Sqrt(max(0, g[i][i]))
		h.Members[i] = MemberHealth{Name: m.Name, Shared: m.Shared, Norm: norm, Examples: m.Examples, Rank: m.Rank, EffectiveRank: ranks[i]}
		sum[m.Shared] += norm
		count[m.Shared]++
	}
	for i := range p.Members {
		h.Cosine[i] = make([]float64, n)
		for j := range p.Members {
			if d := h.Members[i].Norm * h.Members[j].Norm; d > 0 {
				h.Cosine[i][j] = max(-1, min(1, g[i][j]/d))
			}
		}
	}
	blended := p.Blended()
	h.Blended = len(blended)
	var squares float64
	alive := 0
	for a, i := range blended {
		if h.Members[i].Norm > 0 {
			alive++
		}
		for _, j := range blended {
			squares += h.Cosine[i][j] * h.Cosine[i][j]
			if i != j {
				h.Members[i].Nearest = max(h.Members[i].Nearest, float64(Cosine(p.Members[i].Indicator, p.Members[j].Indicator)))
			}
		}
		for _, j := range blended[:a] {
			if c := math.Abs(h.Cosine[i][j]); c > h.Redundancy {
				h.Redundancy, h.Alike = c, [2]string{p.Members[j].Name, p.Members[i].Name}
			}
		}
	}
	if squares > 0 {
		h.Effective = float64(alive) * float64(alive) / squares
	}
	for i := range h.Members {
		m := &h.Members[i]
		if mean := sum[m.Shared] / float64(count[m.Shared]); mean > 0 {
			m.Share = m.Norm / mean
		}
		switch {
		case m.Norm == 0:
			m.Dead = "its product is zero"
		case !m.Shared && m.Share < LeastShare:
			m.Dead = fmt.Sprintf("its norm is %.1f %% of the mean", 100*m.Share)
		case !m.Shared && m.Examples == 0:
			m.Dead = "no training example was nearest to it"
		}
		if m.Dead != "" {
			h.Dead = append(h.Dead, m.Name)
		}
	}
	if mean := sum[false] / float64(max(1, count[false])); mean > 0 {
		h.Shared = sum[true] / mean
	}
	return h, nil
}

// effectiveRanks are the members' effective ranks (Roy and Vetterli 2007): of
// each layer's product the exponential of the entropy of its singular values
// over their sum, and of the layers the mean by squared norm.
func (p *Pool) effectiveRanks() ([]float64, error) {
	sum, weight := make([]float64, len(p.Members)), make([]float64, len(p.Members))
	first := make([]int, len(p.Members)) // each member's first row
	for i, at := 0, 0; i < len(p.Members); i++ {
		first[i] = at
		at += p.Members[i].Rank
	}
	for s := range arch.Slot(p.Base.Shape.Slots()) {
		pair := p.Stack.Pair(s)
		if pair == nil {
			continue
		}
		aa, bb := sideGrams(pair)
		for i, m := range p.Members {
			squares, err := singularSquares(aa, bb, pair.Rank, first[i], m.Rank)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", m.Name, s.Tensor(), err)
			}
			var norm, total, entropy float64
			for _, v := range squares {
				norm += v
				total += math.Sqrt(v)
			}
			if total == 0 {
				continue
			}
			for _, v := range squares {
				if q := math.Sqrt(v) / total; q > 0 {
					entropy -= q * math.Log(q)
				}
			}
			sum[i] += norm * math.Exp(entropy)
			weight[i] += norm
		}
	}
	for i := range sum {
		if weight[i] > 0 {
			sum[i] /= weight[i]
		}
	}
	return sum, nil
}

// sideGrams are the products of the sides' rows and columns, A A' and B' B,
// each Rank x Rank.
func sideGrams(p *adapter.Pair) (aa, bb []float32) {
	r := p.Rank
	aa, bb = make([]float32, r*r), make([]float32, r*r)
	kernel.Gemm(nil, false, true, r, r, p.In, 1, p.A, p.In, p.A, p.In, 0, aa, r)
	kernel.Gemm(nil, true, false, r, r, p.Out, 1, p.B, r, p.B, r, 0, bb, r)
	return aa, bb
}

// singularSquares are the squared singular values of B A for n rows from first
// on: the eigenvalues of S (B'B) S with S the root of A A'.
func singularSquares(aa, bb []float32, r, first, n int) ([]float64, error) {
	cut := func(g []float32) *mat.SymDense {
		s := mat.NewSymDense(n, nil)
		for i := range n {
			for j := i; j < n; j++ {
				s.SetSym(i, j, float64(g[(first+i)*r+first+j]))
			}
		}
		return s
	}
	var root mat.EigenSym
	if !root.Factorize(cut(aa), true) {
		return nil, errors.New("no eigenvalues of A A'")
	}
	var q mat.Dense
	root.VectorsTo(&q)
	half := mat.NewDense(n, n, nil)
	for j, v := range root.Values(nil) {
		for i := range n {
			half.Set(i, j, q.At(i, j)*math.Sqrt(max(0, v)))
		}
	}
	// With A A' = half half', the product has the values of half' (B'B) half.
	var left, whole mat.Dense
	left.Mul(half.T(), cut(bb))
	whole.Mul(&left, half)
	sym := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			sym.SetSym(i, j, (whole.At(i, j)+whole.At(j, i))/2)
		}
	}
	var e mat.EigenSym
	if !e.Factorize(sym, false) {
		return nil, errors.New("no eigenvalues of the product")
	}
	values := e.Values(nil)
	for i := range values {
		values[i] = max(0, values[i])
	}
	return values, nil
}

// StoreError is how far the products of the stored pool are from this one's:
// the root of the members' squared differences over their squared norms.
func (p *Pool) StoreError(stored *Pool) (float64, error) {
	if len(stored.Members) != len(p.Members) || stored.Rank() != p.Rank() {
		return 0, errors.New("the stored pool has other members")
	}
	g := p.gram()
	var miss, whole float64
	for i := range p.Members {
		w := make([]float32, len(p.Members))
		w[i] = 1
		exact, _ := p.Stack.Keep(w)
		got, _ := stored.Stack.Keep(w)
		r := adapter.Residual(&adapter.Adapter{Scale: 1, Pairs: exact.Pairs}, &adapter.Adapter{Scale: 1, Pairs: got.Pairs})
		if math.IsInf(r, 0) || math.IsNaN(r) {
			return 0, fmt.Errorf("%s: its stored sides are another size, or not numbers", p.Members[i].Name)
		}
		miss, whole = miss+r*r*g[i][i], whole+g[i][i]
	}
	if whole == 0 {
		return 0, nil
	}
	return math.Sqrt(miss / whole), nil
}
