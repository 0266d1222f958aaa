package qa

import (
	"cmp"
	"slices"
)

// Info is what is known of a data set beside its rows.
type Info struct {
	Licence    string // of the data, as its publisher states it
	Permissive bool   // by its name: neither share-alike nor unstated
	Family     string // data sets that share sources; left out together
}

// Unknown is the licence of a data set that the catalogue lacks.
const Unknown = "unknown"

// catalog follows the data folder's README. It says under what terms a data
// set may be used and what must be left out with it; it never decides how a
// row is read, prompted or scored.
var catalog = map[string]struct{ licence, family string }{
	"arc_challenge": {"CC BY-SA 4.0", "science"},
	"arc_easy":      {"CC BY-SA 4.0", "science"},
	"boolq":         {"CC BY-SA 3.0", "yes-no"},
	"clinc150":      {"CC BY 3.0", "clinc150"},
	"codah":         {"ODC-BY 1.0", "completion"},
	"commonsenseqa": {"MIT", "commonsense"},
	"comve_a":       {"CC BY-SA 4.0", "comve"},
	"comve_b":       {"CC BY-SA 4.0", "comve"},
	"csqa2":         {"CC BY 4.0", "commonsense"},
	"figqa":         {"MIT", "figqa"},
	"gsm8k":         {"MIT", "gsm8k"},
	"hellaswag":     {"MIT", "completion"},
	"mmlu":          {"MIT", "trivia"},
	"openbookqa":    {"Apache-2.0", "science"},
	"opentriviaqa":  {"CC BY-SA 4.0", "trivia"},
	"piqa":          {"AFL-3.0", "completion"},
	"pubmedqa":      {"MIT", "yes-no"},
	"qasc":          {"CC BY 4.0", "science"},
	"social_iqa":    {"AI2 public release, none stated", "situations"},
	"strategyqa":    {"MIT", "yes-no"},
	"winogrande":    {"CC BY 2.0", "situations"},
}

// About returns what the catalogue says of a data set. One that it lacks is a
// family of its own under an unknown licence.
func About(dataset string) Info {
	if known, ok := catalog[dataset]; ok {
		return Info{Licence: known.licence, Permissive: permissive(known.licence), Family: known.family}
	}
	return Info{Licence: Unknown, Family: dataset}
}

// Families returns the catalogue's families by name, members sorted.
func Families() map[string][]string {
	families := map[string][]string{}
	for name, info := range catalog {
		families[info.family] = append(families[info.family], name)
	}
	for _, members := range families {
		slices.SortFunc(members, cmp.Compare)
	}
	return families
}
