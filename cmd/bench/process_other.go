//go:build !linux

package bench

import "errors"

func sampleProcess(int) (sample, error) {
	return sample{}, errors.New("processes can only be measured on Linux")
}
