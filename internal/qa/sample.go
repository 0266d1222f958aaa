package qa

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"
)

// Training is the rows that a recipe picks.
type Training struct {
	Groups []Group // by data set, then subject
	Counts []Count // by data set
	Files  []File  // that were read, by data set and split
}

// File is a file that rows were picked from.
type File struct {
	Dataset string
	Split   string
	Name    string // of the file, without this machine's folders; a hub's with its address
	SHA256  string
	Rows    int // that it has
	Skipped int // that could not be mapped
}

// String is the file as a pool remembers it.
func (f File) String() string {
	skipped := ""
	if f.Skipped > 0 {
		skipped = fmt.Sprintf(", %d more left out", f.Skipped)
	}
	return fmt.Sprintf("%s %s: %d rows%s of %s, sha256 %s", f.Dataset, f.Split, f.Rows, skipped, f.Name, f.SHA256)
}

// Group is the picked rows of one subject of one data set, in the order of
// the recipe's seed.
type Group struct {
	Dataset string
	Subject string
	Labels  []string // the label set of the whole group, nil if it has none
	Rows    []Row
}

// Count says what one data set gave.
type Count struct {
	Dataset   string   `json:"dataset"`
	Rows      int      `json:"rows"`      // picked
	Available int      `json:"available"` // after exclusions, before caps
	Subjects  []string `json:"subjects"`  // of the picked rows, sorted; "" for none
	Licence   string   `json:"licence"`
	Family    string   `json:"family"`
}

// Labelled is a row with the label set of its group.
type Labelled struct {
	Row
	Labels []string
}

// Len returns how many rows were picked.
func (t *Training) Len() int {
	n := 0
	for i := range t.Groups {
		n += len(t.Groups[i].Rows)
	}
	return n
}

// Ordered returns all rows in one order, that of seed.
func (t *Training) Ordered(seed uint64) []Labelled {
	out := make([]Labelled, 0, t.Len())
	for _, g := range t.Groups {
		for _, r := range g.Rows {
			out = append(out, Labelled{r, g.Labels})
		}
	}
	shuffle(out, seed, func(l *Labelled) *Row { return &l.Row })
	return out
}

// Sample picks training rows: of every data set that is not excluded, the
// train splits in the order of the seed, up to its cap; then, over all, the
// first MaxRows in that order. Label sets are told from a group's rows before
// any cap, so a small sample cannot invent one.
func Sample(ctx context.Context, d *Data, r Recipe) (*Training, error) {
	if err := r.Validate(); err != nil {
		return nil, &fault.Error{Op: "check recipe", Err: err, Exit: fault.ExitUsage}
	}
	out, err := newExclusion(d, &r.Exclude)
	if err != nil {
		return nil, err
	}
	for name := range r.Caps.Datasets {
		if !out.known(name) {
			return nil, unknownName("caps.datasets", name, d)
		}
	}
	var picked []Labelled
	var files []File
	available := map[string]int{}
	for _, name := range d.Datasets() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		splits := d.TrainSplits(name)
		if out.dataset(name) || r.PermissiveOnly && !d.About(name).Permissive || len(splits) == 0 {
			continue
		}
		rows, err := d.All(name, splits...)
		if err != nil {
			return nil, err
		}
		if err := out.checkSubjects(name, rows); err != nil {
			return nil, err
		}
		for _, split := range splits {
			used, err := d.files(name, split)
			if err != nil {
				return nil, err
			}
			files = append(files, used...)
		}
		set := labelled(slices.DeleteFunc(rows, func(row Row) bool { return out.subjects[name+"/"+row.Subject] }))
		available[name] = len(set)
		shuffle(set, r.Seed, func(l *Labelled) *Row { return &l.Row })
		if n := r.limit(name); n > 0 && len(set) > n {
			set = set[:n]
		}
		picked = append(picked, set...)
	}
	shuffle(picked, r.Seed, func(l *Labelled) *Row { return &l.Row })
	if r.MaxRows > 0 && len(picked) > r.MaxRows {
		picked = picked[:r.MaxRows]
	}
	if len(picked) == 0 {
		return nil, &fault.Error{Op: "pick training rows", Path: d.root, Exit: fault.ExitUsage,
			Err: errors.New("the recipe leaves none"), Hint: "exclude less, or raise the caps"}
	}
	t := group(d, picked, available)
	// A set of which MaxRows leaves nothing was not trained on.
	for _, f := range files {
		if slices.ContainsFunc(t.Counts, func(c Count) bool { return c.Dataset == f.Dataset }) {
			t.Files = append(t.Files, f)
		}
	}
	return t, nil
}

// labelled gives each row the label set of its subject.
func labelled(rows []Row) []Labelled {
	bySubject := map[string][]Row{}
	for _, r := range rows {
		bySubject[r.Subject] = append(bySubject[r.Subject], r)
	}
	labels := map[string][]string{}
	for subject, rs := range bySubject {
		labels[subject] = LabelSet(rs)
	}
	out := make([]Labelled, len(rows))
	for i, r := range rows {
		out[i] = Labelled{r, labels[r.Subject]}
	}
	return out
}

func group(d *Data, picked []Labelled, available map[string]int) *Training {
	t := &Training{}
	index := map[[2]string]int{}
	for _, p := range picked {
		k := [2]string{p.Dataset, p.Subject}
		i, ok := index[k]
		if !ok {
			i = len(t.Groups)
			index[k] = i
			t.Groups = append(t.Groups, Group{Dataset: p.Dataset, Subject: p.Subject, Labels: p.Labels})
		}
		t.Groups[i].Rows = append(t.Groups[i].Rows, p.Row)
	}
	slices.SortFunc(t.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Subject, b.Subject))
	})
	for _, g := range t.Groups {
		if n := len(t.Counts); n == 0 || t.Counts[n-1].Dataset != g.Dataset {
			info := d.About(g.Dataset)
			t.Counts = append(t.Counts, Count{Dataset: g.Dataset, Available: available[g.Dataset],
				Licence: info.Licence, Family: info.Family})
		}
		c := &t.Counts[len(t.Counts)-1]
		c.Rows += len(g.Rows)
		c.Subjects = append(c.Subjects, g.Subject)
	}
	return t
}

// exclusion is an Exclude checked against the data: a name that fits nothing
// is an error, as a misspelt exclusion would leak the rows it meant.
type exclusion struct {
	data     *Data
	datasets map[string]bool
	families map[string]bool
	subjects map[string]bool
}

func newExclusion(d *Data, e *Exclude) (*exclusion, error) {
	x := &exclusion{data: d, datasets: map[string]bool{}, families: map[string]bool{}, subjects: map[string]bool{}}
	families := Families()
	for _, name := range d.Datasets() {
		families[d.About(name).Family] = append(families[d.About(name).Family], name)
	}
	for _, name := range e.Datasets {
		if !x.known(name) {
			return nil, unknownName("exclude.datasets", name, d)
		}
		x.datasets[name] = true
	}
	for _, name := range e.Families {
		if _, ok := families[name]; ok {
			x.families[name] = true
			continue
		}
		if !x.known(name) {
			return nil, unknownName("exclude.families", name, d)
		}
		x.families[d.About(name).Family] = true
	}
	for _, name := range e.Subjects {
		set, _, _ := strings.Cut(name, "/")
		if !x.known(set) {
			return nil, unknownName("exclude.subjects", name, d)
		}
		x.subjects[name] = true
	}
	return x, nil
}

func (x *exclusion) known(dataset string) bool {
	_, here := x.data.sets[dataset]
	_, listed := catalog[dataset]
	return here || listed
}

func (x *exclusion) dataset(name string) bool {
	return x.datasets[name] || x.families[x.data.About(name).Family]
}

func (x *exclusion) checkSubjects(dataset string, rows []Row) error {
	have := map[string]bool{}
	for i := range rows {
		have[rows[i].Subject] = true
	}
	for name := range x.subjects {
		set, subject, _ := strings.Cut(name, "/")
		if set == dataset && !have[subject] {
			return &fault.Error{Op: "check recipe", Exit: fault.ExitUsage,
				Err:  fmt.Errorf("exclude.subjects: %s has no subject %q", set, subject),
				Hint: "subjects: " + strings.Join(sortedKeys(have), ", ")}
		}
	}
	return nil
}

func unknownName(key, name string, d *Data) error {
	return &fault.Error{Op: "check recipe", Exit: fault.ExitUsage,
		Err:  fmt.Errorf("%s: no data set %q", key, name),
		Hint: "data sets here: " + strings.Join(d.Datasets(), ", ")}
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
