package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/qa"
)

// Sizes of a user.
const (
	MaxExamples  = 64 // rows kept for examples, so that scored rows are the same at every k
	MaxDraws     = 3  // draws of the examples
	MinRows      = 60 // rows that a subject or data set needs to be a user
	fewestShots  = 16 // examples kept of a user with few rows
	restUser     = "rest"
	defaultRows  = 70
	defaultShots = 16
)

// User is one task: a data set, or a subject of one.
type User struct {
	Name     string // dataset or dataset/subject
	Dataset  string
	Subject  string // "" for a whole data set, "rest" for its merged small subjects
	Family   string
	Labels   []string // choices shared by all the user's rows, nil if they differ
	Constant bool     // every row has the same question
	Group    Group
	Fold     int // the fold of the families that leaves it out (qa.FoldOf); 0: none

	reserve []qa.Row // examples come from here and nowhere else
	scored  []qa.Row
	parts   []string // subjects of the rows, sorted
}

// Examples returns a draw's first k examples, or all that are kept for examples
// if these are fewer. The rows kept for examples go round in a circle, and draw
// d, from 0, begins d thirds of the way round: of 64 rows the three draws of up
// to 21 have none in common, and those of 64 have the same rows in another
// order. A draw's examples at a smaller k are the first of those at a larger.
func (u *User) Examples(k, draw int) []qa.Row {
	n := len(u.reserve)
	at := draw * n / MaxDraws
	return slices.Concat(u.reserve[at:], u.reserve[:at])[:min(k, n)]
}

// Scored returns the rows to score.
func (u *User) Scored() []qa.Row { return u.scored }

// Group says what the pool saw of a user's task.
type Group string

// The groups. LeftOut in a report is NewDataset and NewSubject together;
// Tuning and Reported are those of NewDataset whose fold is for the one or the
// other.
const (
	Seen       Group = "seen"         // trained on other rows of the same subjects
	NewSubject Group = "new_subjects" // trained on the data set, on none of the subjects
	NewDataset Group = "new_datasets" // trained on nothing of the data set's family
	Related    Group = "related"      // trained on the family, not on the data set: counted in neither
	LeftOut    Group = "left_out"
	Tuning     Group = "tuning_folds"
	Reported   Group = "report_folds"
)

// Provenance is what a pool was trained on: subjects by data set.
type Provenance map[string][]string

// ProvenanceOf takes a training sample's counts.
func ProvenanceOf(counts []qa.Count) Provenance {
	p := Provenance{}
	for _, c := range counts {
		p[c.Dataset] = slices.Clone(c.Subjects)
	}
	return p
}

// group tells a task's group; family is of a data set by its name, as the data
// declare it.
func (p Provenance) group(dataset string, subjects []string, family func(string) string) Group {
	if trained, ok := p[dataset]; ok {
		for _, s := range subjects {
			if slices.Contains(trained, s) {
				return Seen
			}
		}
		return NewSubject
	}
	own := family(dataset)
	for other := range p {
		if family(other) == own {
			return Related
		}
	}
	return NewDataset
}

// Selection says which users to make.
type Selection struct {
	Datasets []string // data sets, or dataset/subject users; nil for all
	Groups   []string // Group names; nil for all
	Users    int      // at most this many, spread over data sets; 0 = no limit
	Rows     int      // scored rows a user; 0 = 70
	Seed     uint64
}

// Population is the users of a data folder.
type Population struct {
	Users []*User // selected, by name
	all   []*User // every user of the folder: swapped draws from these
	Notes []string
}

// Users makes users from the evaluation splits: of a data set with at least
// two subjects of 60 rows or more, each such subject, and one user `rest` of
// the others; else the data set as a whole. Rows are ordered by sha256 of
// seed, data set, subject and id; of a user's rows with one content the first stays.
// The first 64 are kept for examples (fewer of a user that would be left with
// under 60 to score, never under 16), and scored rows come after them.
// Rows without choices cannot be scored by choice and are left out.
func Users(ctx context.Context, d *qa.Data, sel Selection, prov Provenance) (*Population, error) {
	if sel.Rows == 0 {
		sel.Rows = defaultRows
	}
	if sel.Rows < 0 || sel.Users < 0 {
		return nil, &fault.Error{Op: "select users", Err: errors.New("rows and users must not be negative"), Exit: fault.ExitUsage}
	}
	p := &Population{}
	family := familyOf(d)
	for _, name := range d.Datasets() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		split, err := d.EvalSplit(name)
		if err != nil {
			return nil, err
		}
		rows, err := d.All(name, split)
		if err != nil {
			return nil, err
		}
		p.add(name, family(name), rows, sel)
	}
	for _, u := range p.all {
		u.Group = prov.group(u.Dataset, u.parts, family)
		u.Fold = qa.FoldOf(u.Dataset)
	}
	return p, p.choose(sel)
}

// familyOf tells a data set's family: what its source declares, else what the
// catalogue knows.
func familyOf(d *qa.Data) func(dataset string) string {
	return func(dataset string) string { return d.About(dataset).Family }
}

// add makes the users of one data set.
func (p *Population) add(dataset, family string, rows []qa.Row, sel Selection) {
	n := len(rows)
	rows = slices.DeleteFunc(rows, func(r qa.Row) bool { return len(r.Choices) == 0 })
	if len(rows) == 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s left out: none of its %d rows has choices", dataset, n))
		return
	}
	qa.Shuffle(rows, sel.Seed)
	bySubject := map[string][]qa.Row{}
	for _, r := range rows {
		bySubject[r.Subject] = append(bySubject[r.Subject], r)
	}
	large := 0
	for _, rs := range bySubject {
		if len(rs) >= MinRows {
			large++
		}
	}
	users := map[string][]qa.Row{"": rows}
	if large >= 2 {
		users = map[string][]qa.Row{}
		for _, r := range rows {
			key := r.Subject
			if key == "" || len(bySubject[key]) < MinRows {
				key = restUser
			}
			users[key] = append(users[key], r)
		}
	}
	for subject, rs := range users {
		name := dataset
		if subject != "" {
			name += "/" + subject
		}
		rs = distinct(rs)
		if len(rs) < MinRows {
			p.Notes = append(p.Notes, fmt.Sprintf("%s left out: %d different rows, fewer than %d", name, len(rs), MinRows))
			continue
		}
		p.all = append(p.all, newUser(name, dataset, subject, family, rs, sel.Rows))
	}
	slices.SortFunc(p.all, func(a, b *User) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(p.Notes)
}

func newUser(name, dataset, subject, family string, rows []qa.Row, scored int) *User {
	u := &User{Name: name, Dataset: dataset, Subject: subject, Family: family,
		Labels: qa.LabelSet(rows), Constant: true}
	for i := range rows {
		u.Constant = u.Constant && rows[i].Question == rows[0].Question
		u.parts = append(u.parts, rows[i].Subject)
	}
	slices.Sort(u.parts)
	u.parts = slices.Compact(u.parts)
	keep := min(MaxExamples, max(fewestShots, len(rows)-MinRows))
	u.reserve = rows[:keep:keep]
	u.scored = rows[keep:min(len(rows), keep+scored)]
	return u
}

// distinct keeps the first row of each content, so that no scored row is an
// example under another id.
func distinct(rows []qa.Row) []qa.Row {
	seen := make(map[[sha256.Size]byte]bool, len(rows))
	return slices.DeleteFunc(rows, func(r qa.Row) bool {
		key := r.Content()
		dup := seen[key]
		seen[key] = true
		return dup
	})
}

// choose fills Users. A limit takes one user of every data set in turn, data
// sets and users in the order of the seed, so that few users still cover many.
func (p *Population) choose(sel Selection) error {
	byDataset := map[string][]*User{}
	var order []string
	for _, name := range sel.Datasets {
		if !slices.ContainsFunc(p.all, func(u *User) bool { return u.Dataset == name || u.Name == name }) {
			return &fault.Error{Op: "select users", Err: fmt.Errorf("no data set or user %q", name), Exit: fault.ExitUsage,
				Hint: "users here: " + strings.Join(names(p.all), ", ")}
		}
	}
	for _, g := range sel.Groups {
		if !slices.Contains([]Group{Seen, NewSubject, NewDataset, Related}, Group(g)) {
			return &fault.Error{Op: "select users", Err: fmt.Errorf("no group %q", g), Exit: fault.ExitUsage,
				Hint: "groups: seen, new_subjects, new_datasets, related"}
		}
	}
	for _, u := range p.all {
		if len(sel.Groups) > 0 && !slices.Contains(sel.Groups, string(u.Group)) {
			continue
		}
		if len(sel.Datasets) > 0 && !slices.Contains(sel.Datasets, u.Dataset) && !slices.Contains(sel.Datasets, u.Name) {
			continue
		}
		if byDataset[u.Dataset] == nil {
			order = append(order, u.Dataset)
		}
		byDataset[u.Dataset] = append(byDataset[u.Dataset], u)
	}
	bySeed := func(a, b string) int {
		ka, kb := qa.Hash(sel.Seed, "user", a), qa.Hash(sel.Seed, "user", b)
		return bytes.Compare(ka[:], kb[:])
	}
	slices.SortFunc(order, bySeed)
	for _, us := range byDataset {
		slices.SortFunc(us, func(a, b *User) int { return bySeed(a.Name, b.Name) })
	}
	for turn, more := 0, true; more; turn++ {
		more = false
		for _, name := range order {
			us := byDataset[name]
			if turn >= len(us) || sel.Users > 0 && len(p.Users) >= sel.Users {
				continue
			}
			p.Users = append(p.Users, us[turn])
			more = true
		}
	}
	if len(p.Users) == 0 {
		return &fault.Error{Op: "select users", Err: fmt.Errorf("no data set of these groups has %d rows with choices", MinRows),
			Hint: "name other groups, or a data folder with larger evaluation splits"}
	}
	slices.SortFunc(p.Users, func(a, b *User) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// stranger returns the user whose customisation u gets in `swapped`: by seed,
// of another family, or where there is none of another data set, or else
// another user. nil if u is alone.
func (p *Population) stranger(u *User, seed uint64) *User {
	var best *User
	var bestKey [sha256.Size]byte
	bestRank := 0
	for _, v := range p.all {
		rank := 1
		switch {
		case v.Name == u.Name:
			continue
		case v.Family != u.Family:
			rank = 3
		case v.Dataset != u.Dataset:
			rank = 2
		}
		key := qa.Hash(seed, "swap", u.Name, v.Name)
		if rank > bestRank || rank == bestRank && bytes.Compare(key[:], bestKey[:]) < 0 {
			best, bestKey, bestRank = v, key, rank
		}
	}
	return best
}

func names(users []*User) []string {
	out := make([]string, len(users))
	for i, u := range users {
		out[i] = u.Name
	}
	return out
}
