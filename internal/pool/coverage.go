package pool

import (
	"crayon/internal/gguf"
)

// Cover is where a data set, or one subject of it, lies in feature space.
type Cover struct {
	Name      string    // "mmlu", or "mmlu/astronomy" for a subject
	Rows      int       // training rows it is the mean of
	Direction []float32 // mean of the rows' directions, at unit length; as stored, in 16 bits
}

// coverage reads the optional mean directions.
func (r *reader) coverage(dim int) []Cover {
	names := r.strings("crayon.coverage.names")
	rows, _ := r.f.Ints("crayon.coverage.rows")
	if len(names) == 0 || r.err != nil {
		return nil
	}
	if len(names) > maxMembers || len(rows) != len(names) {
		r.fail("crayon.coverage", "names and rows must be equally many, at most %d", maxMembers)
		return nil
	}
	all := r.values("coverage", gguf.F16, len(names)*dim)
	if all == nil {
		return nil
	}
	out := make([]Cover, len(names))
	for i := range out {
		if rows[i] < 0 {
			r.fail("crayon.coverage.rows", "%d rows of %q", rows[i], names[i])
			return nil
		}
		out[i] = Cover{names[i], int(rows[i]), all[i*dim : (i+1)*dim : (i+1)*dim]}
	}
	return out
}

func addCoverage(b *gguf.Builder, covers []Cover) error {
	if len(covers) == 0 {
		return nil
	}
	var all []float32
	for _, c := range covers {
		all = append(all, c.Direction...)
	}
	setCoverage(b.Set, covers)
	return add(b, "coverage", gguf.F16, all, len(covers[0].Direction), len(covers))
}

func setCoverage(set func(string, any), covers []Cover) {
	var names []string
	var rows []int32
	for _, c := range covers {
		names, rows = append(names, c.Name), append(rows, int32(c.Rows))
	}
	set("crayon.coverage.names", names)
	set("crayon.coverage.rows", rows)
}

// MeanDirection is the mean of unit vectors, at unit length; zeros if they cancel.
func MeanDirection(directions [][]float32) []float32 {
	if len(directions) == 0 {
		return nil
	}
	zero := make([]float32, len(directions[0]))
	mean := make([]float32, len(zero))
	for d := range mean {
		var sum float64
		for _, v := range directions {
			sum += float64(v[d])
		}
		mean[d] = float32(sum / float64(len(directions)))
	}
	unit, err := Direction(mean, zero, nil)
	if err != nil {
		return mean // both are of the same length
	}
	return unit
}

// CoverageOf describes rows by data set, and by subject where a data set has several:
// of each the mean direction. labels are each row's data set and subject.
func CoverageOf(labels [][2]string, directions [][]float32) []Cover {
	sets, subjects := map[string][][]float32{}, map[string]map[string][][]float32{}
	for i, l := range labels {
		sets[l[0]] = append(sets[l[0]], directions[i])
		if subjects[l[0]] == nil {
			subjects[l[0]] = map[string][][]float32{}
		}
		subjects[l[0]][l[1]] = append(subjects[l[0]][l[1]], directions[i])
	}
	var out []Cover
	for _, name := range sortedKeys(sets) {
		out = append(out, Cover{name, len(sets[name]), MeanDirection(sets[name])})
		if len(subjects[name]) < 2 {
			continue
		}
		for _, s := range sortedKeys(subjects[name]) {
			if rows := subjects[name][s]; s != "" && len(out) < maxMembers {
				out = append(out, Cover{name + "/" + s, len(rows), MeanDirection(rows)})
			}
		}
	}
	return out
}
