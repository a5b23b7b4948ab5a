#!/usr/bin/env bash
# The second job of the GPU workflow: a bundle that the first one measured, checked, filed and proposed as a pull request.
# Usage: propose.sh BUNDLE, with TARGET, ACTOR, RUN_ID and GH_TOKEN in the environment.
set -euo pipefail
: "${TARGET:?}" "${ACTOR:?}" "${RUN_ID:?}" "${GH_TOKEN:?}"
branch="gpu/${TARGET//[^a-z0-9_]/}-${RUN_ID//[^0-9]/}"
.venv/bin/cookbook import "$1"
.venv/bin/cookbook render
git config user.name "${ACTOR}"
git config user.email "${ACTOR}@users.noreply.github.com"
git switch -c "$branch"
git add recipes/records/contributed docs README.md notebooks
git commit -m "A run on ${TARGET}, measured by the GPU lane"
git push origin "$branch"
gh pr create --head "$branch" --title "A run on ${TARGET}" \
    --body "Measured by run ${RUN_ID} for @${ACTOR}; \`cookbook import\` checked it. Its executed notebook is part of this change."
