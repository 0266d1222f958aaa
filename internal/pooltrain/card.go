package pooltrain

import (
	"fmt"

	"crayon/internal/build"
	"crayon/internal/pool"
)

// card fills in what the pool's file says of its training: data sets, licences,
// device, program, limits, and where the data lie in feature space.
func (r *run) card(p *pool.Pool) {
	used, subjects := map[string]int{}, make([][2]string, len(r.picked)) // rows without choices were picked but not trained on
	for i, row := range r.picked {
		used[row.Dataset]++
		subjects[i] = [2]string{row.Dataset, row.Subject}
	}
	m := &p.Made
	for _, f := range r.training.Files {
		if used[f.Dataset] > 0 {
			m.Files = append(m.Files, f.String())
		}
	}
	licences := map[string]bool{}
	for _, n := range r.training.Counts {
		rows := used[n.Dataset]
		if rows == 0 {
			continue
		}
		m.Data = append(m.Data, fmt.Sprintf("%s: %d rows", n.Dataset, rows))
		m.Sets = append(m.Sets, pool.DataSet{Name: n.Dataset, Rows: rows, Licence: n.Licence})
		if !licences[n.Licence] {
			licences[n.Licence] = true
			m.Licences = append(m.Licences, n.Licence)
		}
	}
	info := build.Read()
	m.Device = fmt.Sprintf("CPU (%s, %s)", info.Platform, info.Kernel)
	if r.o.Accelerator != nil {
		m.Device = r.o.Accelerator.Name() + ", " + m.Device
	}
	m.Program = fmt.Sprintf("crayon %s, commit %s", info.Version, info.Commit)
	m.Limits = r.o.Recipe.Limits
	if len(r.directions) == len(r.picked) {
		p.Coverage = pool.CoverageOf(subjects, r.directions)
	}
}
