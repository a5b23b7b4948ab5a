"""What a maintainer runs: releases, installs, a new target, the seed page, the schemas."""
