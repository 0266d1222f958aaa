package calibrate

import (
	"bytes"
	_ "embed"
	"slices"
	"sync"
)

// defaultData is the calibration that ships with the program, made by
// `crayon route calibrate --default` from rows of families that the pool of
// their fold left out; {} where there is none.
//
//go:embed data/default.json
var defaultData []byte

var shipped = sync.OnceValues(func() (*Calibration, error) {
	if string(bytes.TrimSpace(defaultData)) == "{}" {
		return nil, nil
	}
	return Parse("(built in)", defaultData)
})

// Default is the calibration that ships with the program, or nil where there is
// none for a pool on a base model of the lineage.
func Default(pool, lineage string) (*Calibration, error) {
	c, err := shipped()
	if err != nil || c == nil || !c.For(pool, lineage) {
		return nil, err
	}
	return c, nil
}

// For says whether a default calibration is for the pool.
func (c *Calibration) For(pool, lineage string) bool {
	return slices.Contains(c.Digests.Pools, pool) && (c.Digests.Lineage == "" || c.Digests.Lineage == lineage)
}
