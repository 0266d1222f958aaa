// Package tinydevice opens the tiny test model with its pool.
package tinydevice

import (
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/device"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

// Open is a device on the tiny model and pool, closed when the test ends.
func Open(t testing.TB) *device.Device {
	t.Helper()
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	return With(t, modelPath, p)
}

// With is Open of a model file with a pool at hand.
func With(t testing.TB, modelPath string, p *pool.Pool) *device.Device {
	t.Helper()
	d, err := device.Open(t.Context(), modelPath, p, device.Options{Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}
