package pool

import (
	"errors"
	"math"
	"strings"

	"gonum.org/v1/gonum/mat"

	"crayon/internal/fault"
)

// The kinds of spots on a Map.
const (
	AdapterSpot = "adapter"
	SetSpot     = "dataset"
	SubjectSpot = "subject"
)

// Spot is one thing's place on a Map.
type Spot struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	X       float64 `json:"x"`
	Y       float64 `json:"y"`
	Size    int     `json:"size"`              // training examples
	Nearest string  `json:"nearest,omitempty"` // of a data set or subject: the adapter whose indicator is most like it
	Cosine  float64 `json:"cosine,omitempty"`  // with that indicator, in the whole space
}

// Map is the pool's feature space in two dimensions: classical scaling of the
// indicators and the data sets' mean directions (which is the principal
// components of these unit vectors); subjects are put on the same axes.
type Map struct {
	Spots     []Spot     `json:"spots"`
	Explained [2]float64 `json:"explained"` // share of the variance of indicators and data sets along each axis
}

// Map places indicators, data sets and subjects. A pool without coverage has
// its indicators alone. The same pool gives the same places.
func (p *Pool) Map() (*Map, error) {
	m := &Map{}
	var axes, rest [][]float32
	var spots, others []Spot
	for _, i := range p.Blended() {
		axes = append(axes, p.Members[i].Indicator)
		spots = append(spots, Spot{Name: p.Members[i].Name, Kind: AdapterSpot, Size: p.Members[i].Examples})
	}
	for _, c := range p.Coverage {
		s := Spot{Name: c.Name, Kind: SetSpot, Size: c.Rows}
		s.Nearest, s.Cosine = p.nearest(c.Direction)
		if strings.Contains(c.Name, "/") {
			s.Kind = SubjectSpot
			others, rest = append(others, s), append(rest, c.Direction)
			continue
		}
		spots, axes = append(spots, s), append(axes, c.Direction)
	}
	n := len(axes)
	if n < 2 {
		m.Spots = append(spots, others...)
		return m, nil
	}
	dim := len(axes[0])
	mean := make([]float64, dim)
	for _, v := range axes {
		for d, x := range v {
			mean[d] += float64(x) / float64(n)
		}
	}
	centred := mat.NewDense(n, dim, nil)
	for i, v := range axes {
		for d, x := range v {
			centred.Set(i, d, float64(x)-mean[d])
		}
	}
	gram := mat.NewSymDense(n, nil)
	var total float64
	for i := range n {
		for j := i; j < n; j++ {
			gram.SetSym(i, j, mat.Dot(centred.RowView(i), centred.RowView(j)))
		}
		total += gram.At(i, i)
	}
	var e mat.EigenSym
	if !e.Factorize(gram, true) {
		return nil, &fault.Error{Op: "pool map", Path: p.path, Err: errors.New("no principal axes")}
	}
	values := e.Values(nil) // ascending
	var vectors mat.Dense
	e.VectorsTo(&vectors)
	for k := range 2 {
		col := n - 1 - k
		v := values[col]
		if v <= 1e-12*total || total <= 0 {
			continue
		}
		m.Explained[k] = v / total
		// An axis has no sign of its own: its largest part points up.
		sign, largest := 1.0, 0.0
		for i := range n {
			if x := vectors.At(i, col); math.Abs(x) > largest+1e-9 {
				largest, sign = math.Abs(x), math.Copysign(1, x)
			}
		}
		axis := make([]float64, dim)
		for i := range n {
			u := sign * vectors.At(i, col)
			at := u * math.Sqrt(v)
			if k == 0 {
				spots[i].X = at
			} else {
				spots[i].Y = at
			}
			for d := range axis {
				axis[d] += u * centred.At(i, d) / math.Sqrt(v)
			}
		}
		for i, r := range rest {
			var at float64
			for d, x := range r {
				at += (float64(x) - mean[d]) * axis[d]
			}
			if k == 0 {
				others[i].X = at
			} else {
				others[i].Y = at
			}
		}
	}
	m.Spots = append(spots, others...)
	return m, nil
}

// nearest is the blended member whose indicator is most like a direction.
func (p *Pool) nearest(direction []float32) (name string, cosine float64) {
	cosine = -2
	for _, i := range p.Blended() {
		if c := float64(Cosine(direction, p.Members[i].Indicator)); c > cosine {
			name, cosine = p.Members[i].Name, c
		}
	}
	return name, cosine
}
