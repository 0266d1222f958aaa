package qa

import (
	"fmt"
	"strings"
)

// Recipe says which rows a pool is trained on.
type Recipe struct {
	Seed           uint64  `yaml:"seed" json:"seed"`
	Caps           Caps    `yaml:"caps" json:"caps"`
	Exclude        Exclude `yaml:"exclude" json:"exclude"`
	PermissiveOnly bool    `yaml:"permissive_only" json:"permissive_only"` // leave share-alike and unstated licences out
	MaxRows        int     `yaml:"max_rows" json:"max_rows"`               // of all data sets together; 0 = no limit
}

// Caps are the most rows a data set gives; 0 = no limit.
type Caps struct {
	Default  int            `yaml:"default" json:"default"`
	Datasets map[string]int `yaml:"datasets,omitempty" json:"datasets,omitempty"` // overrides Default
}

// Exclude names what is left out.
type Exclude struct {
	Datasets []string `yaml:"datasets,omitempty" json:"datasets,omitempty"`
	Families []string `yaml:"families,omitempty" json:"families,omitempty"` // a family by its name or by any member
	Subjects []string `yaml:"subjects,omitempty" json:"subjects,omitempty"` // dataset/subject
}

// Validate checks ranges and forms.
func (r *Recipe) Validate() error {
	if r.MaxRows < 0 {
		return fmt.Errorf("max_rows is %d, below 0", r.MaxRows)
	}
	if r.Caps.Default < 0 {
		return fmt.Errorf("caps.default is %d, below 0", r.Caps.Default)
	}
	for name, n := range r.Caps.Datasets {
		if n < 0 {
			return fmt.Errorf("caps.datasets.%s is %d, below 0", name, n)
		}
	}
	for _, s := range r.Exclude.Subjects {
		if set, subject, ok := strings.Cut(s, "/"); !ok || set == "" || subject == "" {
			return fmt.Errorf("exclude.subjects: %q is not dataset/subject", s)
		}
	}
	return nil
}

// limit is the most rows that a data set gives; 0 = no limit.
func (r *Recipe) limit(dataset string) int {
	if n, ok := r.Caps.Datasets[dataset]; ok {
		return n
	}
	return r.Caps.Default
}
