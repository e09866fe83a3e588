# Everything else is a go command: see CONTRIBUTING.md.

.PHONY: release notices

# release builds the archives, packages, images, checksums and SBOMs of the commit in dist.
release:
	cd contrib/release && go run . -root ../.. -out ../../dist

# notices writes THIRD_PARTY_NOTICES after a change of the modules.
notices:
	cd contrib/release && go run . -root ../.. notices
