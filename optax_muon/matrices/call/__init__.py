"""Roles and axes read from a trace of the model: the products themselves say which axes are contracted.

A call is traced without computing anything, and its equations are walked with one abstract value per variable
(`_value`): for what is made of parameters alone, which axes of which parameter each dimension runs along; for data,
the products that reach it. Every primitive has its rule (`_reshaping`, `_elementwise`, `_products`, `_control_flow`);
what the rules notice of each parameter is kept (`_record`) and summed up to its `Leaf` (`_summary`). A primitive
without a rule makes a parameter unknown, never a guess.
"""
