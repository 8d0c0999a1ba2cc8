"""The rules of `winseed lint`, one noun of the answer file per module.

Every rule has a row in `answer_templates/schema/rules.json`: id, level, what Setup does, the way
out, the source. The modules only find the places.
"""
