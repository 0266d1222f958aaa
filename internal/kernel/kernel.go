// Package kernel is the arithmetic of the engine and of the trainer: float32
// matrix products, products of quantised weights with quantised activations,
// the vector functions of a transformer layer, and the workers they run on.
//
// Every function has a plain Go twin, which is its meaning in the tests and
// the fallback where there is no assembly. The assembly is chosen at run time
// by Level; the packed weights have one layout for all levels, so a level can
// be switched at any time.
//
// Slices of the wrong length are a mistake of the caller and panic, as they do
// in BLAS; data never does.
package kernel

//go:generate go run ./gen -out .
