package customize

import (
	"crypto/sha256"
	"encoding/hex"
)

// Digest is the sha256, hex, of what decides how it answers and what is in its
// scope: pool, weights, plan, labels and examples, not its name or its proof.
func (c *Customisation) Digest() (string, error) {
	d := Customisation{Version: c.Version, Pool: c.Pool, Lineage: c.Lineage, Kept: c.Kept, Shared: c.Shared, Labels: c.Labels, Examples: c.Examples, Scope: c.Scope, Plan: c.Plan}
	if c.Remote != nil { // its address is not what answers
		d.Remote = &Remote{Head: c.Remote.Head, File: c.Remote.File, Members: c.Remote.Members}
	}
	data, err := d.Marshal()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
