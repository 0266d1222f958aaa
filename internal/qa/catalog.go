package qa

import (
	"cmp"
	"slices"
)

// Info is what is known of a data set beside its rows.
type Info struct {
	Licence    string // of the data, as its publisher states it
	Permissive bool   // neither share-alike nor unstated
	Family     string // data sets that share sources; left out together
}

// Unknown is the licence of a data set that the catalogue lacks.
const Unknown = "unknown"

// catalog follows the data folder's README. It says under what terms a data
// set may be used and what must be left out with it; it never decides how a
// row is read, prompted or scored.
var catalog = map[string]Info{
	"arc_challenge": {"CC BY-SA 4.0", false, "science"},
	"arc_easy":      {"CC BY-SA 4.0", false, "science"},
	"boolq":         {"CC BY-SA 3.0", false, "yes-no"},
	"clinc150":      {"CC BY 3.0", true, "clinc150"},
	"codah":         {"ODC-BY 1.0", true, "completion"},
	"commonsenseqa": {"MIT", true, "commonsense"},
	"comve_a":       {"CC BY-SA 4.0", false, "comve"},
	"comve_b":       {"CC BY-SA 4.0", false, "comve"},
	"csqa2":         {"CC BY 4.0", true, "commonsense"},
	"figqa":         {"MIT", true, "figqa"},
	"gsm8k":         {"MIT", true, "gsm8k"},
	"hellaswag":     {"MIT", true, "completion"},
	"mmlu":          {"MIT", true, "trivia"},
	"openbookqa":    {"Apache-2.0", true, "science"},
	"opentriviaqa":  {"CC BY-SA 4.0", false, "trivia"},
	"piqa":          {"AFL-3.0", true, "completion"},
	"pubmedqa":      {"MIT", true, "yes-no"},
	"qasc":          {"CC BY 4.0", true, "science"},
	"social_iqa":    {"AI2 public release, none stated", false, "situations"},
	"strategyqa":    {"MIT", true, "yes-no"},
	"winogrande":    {"CC BY 2.0", true, "situations"},
}

// About returns what the catalogue says of a data set. One that it lacks is a
// family of its own under an unknown licence.
func About(dataset string) Info {
	if info, ok := catalog[dataset]; ok {
		return info
	}
	return Info{Licence: Unknown, Family: dataset}
}

// Families returns the catalogue's families by name, members sorted.
func Families() map[string][]string {
	families := map[string][]string{}
	for name, info := range catalog {
		families[info.Family] = append(families[info.Family], name)
	}
	for _, members := range families {
		slices.SortFunc(members, cmp.Compare)
	}
	return families
}
